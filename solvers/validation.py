"""Names that people type."""

import difflib
from collections.abc import Collection

from fastdiff.solvers.errors import UsageError

ALIKE = 0.75  # share of letters in common from which a name may have been meant


def check_name(what: str, given: str, known: Collection[str]) -> None:
    """Raises UsageError, with the nearest of the `known` names of `what` and all of them, where `given` is none."""
    if given in known:
        return
    near = difflib.get_close_matches(given.lower(), known, n=1, cutoff=ALIKE)
    perhaps = f", perhaps {near[0]}" if near else ""
    raise UsageError(f"unknown {what} {given!r}{perhaps}: one of {', '.join(known)}")
