"""The error of PDF pictures that cannot be changed."""

from fastdiff.solvers.errors import UsageError


class UnsupportedPicture(UsageError):
    """A picture whose cleaned pixels could not be put back: its page stays as it is."""
