"""Progress on standard error: a bar of a batch in a terminal, else a line every LINE_EVERY seconds; failures always."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Protocol, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from fastdiff.apps.running import batch
from fastdiff.apps.running.inputs import LeftOut, summary
from fastdiff.cli.formatting import counted

LINE_EVERY = 30.0  # seconds, where there is no terminal
LOADING = "loading libraries"


@contextmanager
def shown(*, debug: bool = False) -> Iterator[batch.Watch]:
    """Yield the callback that shows a batch's progress; with `debug` also the traceback of each failure."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[pace]}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, pace="")
        next_line = LINE_EVERY

        def watch(now: batch.Progress) -> None:
            nonlocal next_line
            bar.update(task, description=_short(now.name), completed=now.done, total=now.total, pace=pace(now))
            if now.seconds >= next_line and not console.is_terminal:
                next_line = now.seconds + LINE_EVERY
                console.print(f"{now.name}: {pace(now)}", markup=False)
            if now.finished and now.finished.error:
                named = "" if now.name in now.finished.error else f"{now.name}: "
                console.print(f"failed: {named}{now.finished.error}", markup=False)
                if debug and now.finished.trace:
                    console.print(now.finished.trace, markup=False)

        yield watch


@contextmanager
def status(text: str) -> Iterator[None]:
    """Show a text with a spinner while the block runs, in a terminal only."""
    console = Console(stderr=True)
    with console.status(text) if console.is_terminal else nullcontext():
        yield


class Report(Protocol):
    """The report that every application returns."""

    @property
    def exit_code(self) -> int: ...
    @property
    def earlier(self) -> int: ...
    @property
    def left_out(self) -> Sequence[LeftOut]: ...
    def to_json(self) -> str: ...


ReportType = TypeVar("ReportType", bound=Report)
OptionsType = TypeVar("OptionsType")


def run_command(
    run: Callable[[OptionsType, batch.Watch], ReportType],
    options: OptionsType,
    summarise: Callable[[ReportType], str],
    *,
    debug: bool,
    as_json: bool,
) -> int:
    """Run an application with progress, print its summary or its JSON report, and return its exit code."""
    with shown(debug=debug) as watch:
        report = run(options, watch)
    if as_json:
        click.echo(report.to_json(), nl=False)
        return report.exit_code
    if report.earlier:
        click.echo(f"{counted(report.earlier, 'input')} done already, by an earlier run")
    click.echo(summarise(report))
    if left_out := summary(report.left_out):
        click.echo(left_out)
    return report.exit_code


def pace(now: batch.Progress) -> str:
    """Format progress, such as `12/40, 3.1 a minute, 0:09:02 left`."""
    text = f"{int(now.done)}/{now.total}"
    if now.seconds_left is None:
        return text
    return f"{text}, {now.per_minute:.1f} a minute, {timedelta(seconds=round(now.seconds_left))} left"


def _short(name: str, width: int = 32) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"
