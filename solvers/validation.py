"""Validation of names that users type."""

import difflib
from collections.abc import Collection

from fastdiff.solvers.errors import UsageError

ALIKE = 0.75  # least similarity of a suggested name


def check_name(what: str, given: str, known: Collection[str]) -> None:
    """Raise UsageError if `given` is none of the `known` names of `what`. The message suggests the nearest name."""
    if given in known:
        return
    near = difflib.get_close_matches(given.lower(), known, n=1, cutoff=ALIKE)
    perhaps = f", perhaps {near[0]}" if near else ""
    raise UsageError(f"unknown {what} {given!r}{perhaps}: one of {', '.join(known)}")
