"""Errors that a person can act on; each carries the exit code of the command that ends with it."""


class FastdiffError(Exception):
    """Base of all errors raised on purpose. The message is one sentence: what was given, what is allowed."""

    exit_code = 2


class UsageError(FastdiffError):
    """A wrong argument or an input that cannot be used."""

    exit_code = 2


class MissingError(FastdiffError):
    """A dependency, model or weight file that is not installed."""

    exit_code = 3


class OutputError(FastdiffError):
    """A place that cannot be written."""

    exit_code = 5
