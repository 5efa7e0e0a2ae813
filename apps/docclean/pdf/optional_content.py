"""Optional content of a PDF: the layers that viewers show by default (ISO 32000-1, 8.11)."""

from collections.abc import Callable
from typing import Any

import pikepdf

from fastdiff.apps.docclean.pdf.page_tree import is_dictionary

DEEPEST = 32  # expressions within expressions

POLICIES: dict[str, Callable[[list[bool]], bool]] = {
    "/AllOn": all,
    "/AnyOn": any,
    "/AnyOff": lambda shown: not all(shown),
    "/AllOff": lambda shown: not any(shown),
}


class OptionalContent:
    """The default state of a file's optional-content groups."""

    def __init__(self, pdf: pikepdf.Pdf) -> None:
        properties = pdf.Root.get("/OCProperties")
        default = properties.get("/D") if is_dictionary(properties) else None
        default = default if is_dictionary(default) else pikepdf.Dictionary()
        self._shown_at_first = default.get("/BaseState") != pikepdf.Name.OFF
        self._on, self._off = _groups(default.get("/ON")), _groups(default.get("/OFF"))

    def shows(self, membership: Any) -> bool:
        """True if content of a group or membership dictionary (or of None) is shown."""
        if not is_dictionary(membership):
            return True
        if membership.get("/Type") != pikepdf.Name.OCMD:
            return self._shows_group(membership)
        if isinstance(membership.get("/VE"), pikepdf.Array):
            return self._holds(membership.VE)
        groups = membership.get("/OCGs")
        members = list(groups) if isinstance(groups, pikepdf.Array) else [groups]
        states = [self._shows_group(member) for member in members if is_dictionary(member)]
        policy = POLICIES.get(str(membership.get("/P", "/AnyOn")), any)
        return not states or policy(states)

    def _holds(self, expression: Any, depth: int = 0) -> bool:
        """True if a visibility expression (ISO 32000-1, table 99) is true; other objects count as true."""
        if is_dictionary(expression):
            return self._shows_group(expression)
        if not isinstance(expression, pikepdf.Array) or not len(expression) or depth > DEEPEST:
            return True
        operator, *operands = list(expression)
        values = [self._holds(operand, depth + 1) for operand in operands]
        if operator == pikepdf.Name.Not:
            return not all(values)
        return any(values) if operator == pikepdf.Name.Or else all(values)

    def _shows_group(self, group: pikepdf.Object) -> bool:
        if group.objgen in self._off:
            return False
        return self._shown_at_first or group.objgen in self._on


def _groups(array: Any) -> frozenset[tuple[int, int]]:
    if not isinstance(array, pikepdf.Array):
        return frozenset()
    return frozenset(group.objgen for group in array if is_dictionary(group))
