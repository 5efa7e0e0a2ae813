"""`fastdiff models`: what is on this computer, and what can be fetched."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from fastdiff.cli.exit_codes import OF_ONE
from fastdiff.cli.options import Command, option
from fastdiff.solvers.errors import UsageError

if TYPE_CHECKING:
    from fastdiff.models.catalogue import Description

debugging = option("--debug", is_flag=True, help="Show the traceback of an error.", group="Run")


@click.group(epilog=OF_ONE)
def command() -> None:
    """List, download and show the models that --model takes.

    \b
    Examples:
      fastdiff models list
      fastdiff models download owner/name
      fastdiff models show scenes
    """


@command.command("list", cls=Command, epilog=OF_ONE)
@debugging
def show_all(debug: bool) -> None:
    """List the bundled and the downloaded models with size and folder.

    \b
    Example:
      fastdiff models list
    """
    from fastdiff.models.catalogue import here

    for entry in here():
        click.echo(f"{entry.name}  {_size(entry.size)}  {entry.path}")


@command.command(cls=Command, epilog=OF_ONE)
@click.argument("model")
@debugging
def download(model: str, debug: bool) -> None:
    """Download MODEL from the Hugging Face hub.

    MODEL is owner/name or owner/name@revision. Fetches configs and safetensors, no code and no pickles. The same
    command resumes a stopped download. No other command connects to another computer.

    \b
    Example:
      fastdiff models download PixArt-alpha/PixArt-XL-2-512x512
    """
    from fastdiff.models import hub

    name = hub.HubId.parse(model)
    if name is None:
        raise UsageError(f"{model!r} is no hub id: give owner/name or owner/name@revision")
    offer = hub.offer(name)
    click.echo(f"{name}: {_size(offer.size)}, {_size(offer.missing)} to download, licence: {offer.licence}")
    click.echo(f"in {hub.download(name)}")


@command.command(cls=Command, epilog=OF_ONE)
@click.argument("model")
@debugging
def show(model: str, debug: bool) -> None:
    """Show licence, schedule and parts of MODEL, a listed name or a folder.

    \b
    Example:
      fastdiff models show scenes
    """
    from fastdiff.models.catalogue import describe, find

    click.echo("\n".join(_lines(describe(find(model)))))


def _lines(description: "Description") -> list[str]:
    schedule, side = description.scheduler, description.resolution
    lines = [
        f"{description.folder.pipeline} in {description.folder.path}",
        f"licence: {description.licence}",
        f"pictures: {f'{side}x{side}' if side else 'of unknown size'}",
        f"schedule: {_schedule(schedule)}",
    ]
    for part, kind in description.folder.parts.items():
        weights = description.networks.get(part)
        counts = f": {weights.numbers / 1e6:.1f} M parameters, {_size(weights.size)}" if weights else ""
        counts = counts if (description.folder.path / part).is_dir() else ": not in the folder"
        lines.append(f"{part} ({kind}){counts}")
    return lines + [f"{key}: {value}" for key, value in (description.card.get("scores") or {}).items()]


def _schedule(config: Mapping[str, Any]) -> str:
    """Describe a scheduler config, such as `DDIMScheduler, beta_schedule linear, prediction_type epsilon`."""
    from fastdiff.models.scheduler_config import is_flow

    name = config.get("_class_name")
    if is_flow(config):
        shift = config.get("shift", config.get("flow_shift", 1.0))
        return f"{name}, flow matching, shift {shift:g}, prediction_type flow_prediction"
    betas, predicts = config.get("beta_schedule", "linear"), config.get("prediction_type", "epsilon")
    return f"{name}, beta_schedule {betas}, prediction_type {predicts}"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
