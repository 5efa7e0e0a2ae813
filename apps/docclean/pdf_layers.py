"""Optional content of a PDF: which layers viewers show by default (ISO 32000-1, 8.11)."""

from collections.abc import Callable
from typing import Any

import pikepdf

from fastdiff.apps.docclean.pdf_tree import is_dictionary

POLICIES: dict[str, Callable[[list[bool]], bool]] = {
    "/AllOn": all,
    "/AnyOn": any,
    "/AnyOff": lambda shown: not all(shown),
    "/AllOff": lambda shown: not any(shown),
}


class Layers:
    """The default state of a file's optional-content groups."""

    def __init__(self, pdf: pikepdf.Pdf) -> None:
        properties = pdf.Root.get("/OCProperties")
        default = properties.get("/D") if is_dictionary(properties) else None
        default = default if is_dictionary(default) else pikepdf.Dictionary()
        self._shown_at_first = default.get("/BaseState") != pikepdf.Name.OFF
        self._on, self._off = _groups(default.get("/ON")), _groups(default.get("/OFF"))

    def shows(self, membership: Any) -> bool:
        """Whether content of a group or membership dictionary (or of None) is shown."""
        if not is_dictionary(membership):
            return True
        if membership.get("/Type") != pikepdf.Name.OCMD:
            return self._shows_group(membership)
        groups = membership.get("/OCGs")
        members = list(groups) if isinstance(groups, pikepdf.Array) else [groups]
        states = [self._shows_group(member) for member in members if is_dictionary(member)]
        policy = POLICIES.get(str(membership.get("/P", "/AnyOn")), any)
        return not states or policy(states)

    def _shows_group(self, group: pikepdf.Object) -> bool:
        if group.objgen in self._off:
            return False
        return self._shown_at_first or group.objgen in self._on


def _groups(array: Any) -> frozenset[tuple[int, int]]:
    if not isinstance(array, pikepdf.Array):
        return frozenset()
    return frozenset(group.objgen for group in array if is_dictionary(group))
