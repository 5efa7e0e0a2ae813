"""Errors that a user can act on. Each carries the exit code of the command."""


class FastdiffError(Exception):
    """Base of all expected errors. The message is one sentence: the given value, and the allowed ones."""

    exit_code = 2


class UsageError(FastdiffError):
    """A wrong argument, or an unusable input."""

    exit_code = 2


class MissingError(FastdiffError):
    """A dependency, model or weight file is not installed."""

    exit_code = 3


class OutputError(FastdiffError):
    """An output cannot be written."""

    exit_code = 5
