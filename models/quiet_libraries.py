"""Silence for diffusers and transformers while they load, and their errors as sentences."""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import CRITICAL


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the logs and progress bars of the two libraries, which raise what they log as an error."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    logs = (diffusers_logging, transformers_logging)
    levels = [log.get_verbosity() for log in logs]
    for log in logs:
        log.set_verbosity(CRITICAL)
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.set_verbosity(level)
            log.enable_progress_bar()


def sentence(error: Exception) -> str:
    """Return the first line of an error, with the second one where the first announces it."""
    first, _, others = str(error).strip().partition("\n")
    second = others.strip().partition("\n")[0] if first.endswith(":") else ""  # such as the key of a wrong shape
    return f"{first} {second}".rstrip()
