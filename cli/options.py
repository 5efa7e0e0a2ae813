"""Options that commands share, and help texts in groups."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)


class Option(click.Option):
    """An option with the heading of its group in the help."""

    def __init__(self, *names: Any, group: str = "Other", **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.group = group


class Command(click.Command):
    """A command whose help lists its options under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", "Other"), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def option(*names: str, group: str, **settings: Any) -> Callable[[Function], Function]:
    """Return `click.option` with a group."""
    return click.option(*names, cls=Option, group=group, **settings)


def files(function: Function) -> Function:
    """Add the options for inputs and outputs."""
    for decorate in (
        option("--report", type=FILE, help="Where to write report.json. [default: with the outputs]", group="Output"),
        option(
            "--force",
            is_flag=True,
            help="Do finished work again, and replace files that are not results of this command. Inputs are never "
            "replaced.",
            group="Output",
        ),
        option(
            "-o",
            "--out",
            type=PATH,
            help="A folder, or a file for a single input. [default: INPUT-VERB beside the input]",
            group="Output",
        ),
        option("-r", "--recursive", is_flag=True, help="Take the files in sub-folders too.", group="Input"),
    ):
        function = decorate(function)
    return function


def running(function: Function) -> Function:
    """Add the options for running and reporting."""
    for decorate in (
        option("--debug", is_flag=True, help="Show the traceback of an error.", group="Run"),
        option("--dry-run", is_flag=True, help="List inputs and outputs, estimate the time, and stop.", group="Run"),
        option("--json", "as_json", is_flag=True, help="Print the report as JSON.", group="Run"),
        option(
            "--jobs",
            type=click.IntRange(1),
            default=1,
            help="Number of inputs processed at a time. [default: 1]",
            group="Run",
        ),
        computing,
    ):
        function = decorate(function)
    return function


def adapting(function: Function) -> Function:
    """Add the options for a model of several files: the configs of a checkpoint, LoRA and a SpeedUpNet."""
    function = option(
        "--speedup",
        type=PATH,
        help="SpeedUpNet file of `fastdiff train speedup` for the model, with --preset speedup.",
        group="Method",
    )(function)
    function = option(
        "--lora",
        multiple=True,
        metavar="FILE[:SCALE]",
        help="LoRA file for the model, in safetensors, such as style.safetensors:0.7. May be repeated. [scale: 1]",
        group="Method",
    )(function)
    return option(
        "--config",
        type=PATH,
        help="Model folder with configs, tokenizers and scheduler, where --model is one .safetensors file.",
        group="Method",
    )(function)


def device(function: Function) -> Function:
    """Add the option for the device."""
    return option(
        "--device",
        default="auto",
        help="Device of the networks: cpu, cuda, mps, or one of several, such as cuda:1. auto takes a GPU where there "
        "is one. [default: auto]",
        group="Run",
    )(function)


def computing(function: Function) -> Function:
    """Add the options for device, precision and seed."""
    for decorate in (
        option(
            "--dtype",
            type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
            default="auto",
            help="Precision of the networks. auto is float32, and bfloat16 on a GPU that supports it. [default: auto]",
            group="Run",
        ),
        device,
        option(
            "--seed",
            type=int,
            default=0,
            help="Seed of the noise. The same seed repeats a result. [default: 0]",
            group="Run",
        ),
    ):
        function = decorate(function)
    return function
