"""Shared options of the commands on sampling: the model, its conditions, and the numbers of calls."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastdiff.cli.options import PATH, Function, computing, option
from fastdiff.solvers.errors import UsageError

if TYPE_CHECKING:
    from fastdiff.models.sampling_problem import SamplingProblem

MOST_CALLS = 1000
MOST_PROMPTS = 100_000


class Calls(click.ParamType):  # type: ignore[type-arg]  # generic in later versions of click alone
    """Numbers of calls, such as `5,6,8` and `5..12`: rising, each once."""

    name = "calls"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        counts: set[int] = set()
        for part in str(value).split(","):
            match = re.fullmatch(r"\s*(\d{1,4})(?:\.\.(\d{1,4}))?\s*", part)
            if match is None:
                self.fail(f"{value!r}: give numbers such as 5,6,8 or 5..12", param, ctx)
            first, last = int(match[1]), int(match[2] or match[1])
            if not 1 <= first <= last <= MOST_CALLS:
                self.fail(f"{value!r}: calls go from 1 to {MOST_CALLS}, the lower number first", param, ctx)
            counts |= set(range(first, last + 1))
        return tuple(sorted(counts))


def problem_options(calls: str) -> Callable[[Function], Function]:
    """Return a decorator that adds the options of a model and its conditions; `--nfe` defaults to `calls`."""

    def decorate(function: Function) -> Function:
        for each in (
            computing,
            option("--debug", is_flag=True, help="Show the traceback of an error.", group="Run"),
            option("--pages", type=PATH, help="Folder of degraded pages. [default: the samples]", group="Conditions"),
            option(
                "--prompts",
                type=PATH,
                help="Text file of prompts, one per line. [default: see above]",
                group="Conditions",
            ),
            option(
                "--size",
                type=click.IntRange(8, 4096),
                help="Side of the samples in pixels. [default: the model's]",
                group="Conditions",
            ),
            option(
                "--guidance",
                type=click.FloatRange(0, 100),
                help="Scale of classifier-free guidance. [default: 4.5 for text-conditioned models]",
                group="Conditions",
            ),
            option(
                "--nfe",
                "calls",
                type=Calls(),
                default=calls,
                help=f"Network calls of a run, such as 5,8 or 5..12. [default: {calls}]",
                group="Sampling",
            ),
        ):
            function = each(function)
        return function

    return decorate


def open_problem(
    model: str,
    *,
    guidance: float | None,
    size: int | None,
    prompts: Path | None,
    pages: Path | None,
    device: str,
    dtype: str,
) -> "SamplingProblem":
    """Load the sampling problem. Raises UsageError for a file without prompts, and as `load_sampling_problem` does."""
    from fastdiff.apps.device import resolve_device
    from fastdiff.models.sampling_problem import load_sampling_problem

    texts = _lines(prompts) if prompts else ()
    where, precision = resolve_device(device, dtype)
    return load_sampling_problem(
        model, guidance=guidance, size=size, prompts=texts, pages=pages, device=where, dtype=precision
    )


def _lines(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path} as text in UTF-8") from error
    texts = tuple(line.strip() for line in lines if line.strip())
    if not 1 <= len(texts) <= MOST_PROMPTS:
        raise UsageError(f"{path} holds {len(texts)} prompts, one a line: from 1 to {MOST_PROMPTS}")
    return texts
