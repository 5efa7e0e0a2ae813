"""`fastdiff models`: what is on this computer, and what can be fetched."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from fastdiff.cli.exit_codes import OF_ONE
from fastdiff.cli.formatting import counted
from fastdiff.cli.options import Command, option
from fastdiff.solvers.errors import UsageError

if TYPE_CHECKING:
    from fastdiff.apps.model_memory import Machine
    from fastdiff.models.catalogue import Description, Entry

debugging = option("--debug", is_flag=True, help="Show the traceback of an error.", group="Run")


@click.group(epilog=OF_ONE)
def command() -> None:
    """List, download, show and verify the models that --model takes.

    \b
    Examples:
      fastdiff models list
      fastdiff models download owner/name
      fastdiff models show scenes
      fastdiff models verify owner/name
    """


@command.command("list", cls=Command, epilog=OF_ONE)
@debugging
def show_all(debug: bool) -> None:
    """List the models on this computer with family, size, precision and memory.

    These are the bundled and the downloaded ones. The memory is that of the weights, in the default precision of this
    machine's device, with a fifth of its memory left free. Pictures larger than those of training need more.

    \b
    Example:
      fastdiff models list
    """
    from fastdiff.cli.progress import LOADING, status
    from fastdiff.models.catalogue import here

    with status(LOADING):
        from fastdiff.apps.model_memory import this_machine

        machine = this_machine()
    for entry in here():
        click.echo(f"{entry.name}  {_listed(entry, machine)}  {entry.path}")


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


@command.command(cls=Command, epilog=OF_ONE)
@click.argument("model")
@debugging
def verify(model: str, debug: bool) -> None:
    """Compare the files of MODEL, a downloaded model, with their digests.

    Exits with 2 if a file is damaged or missing, or if there are no digests: bundled models and folders of one's own
    have none.

    \b
    Example:
      fastdiff models verify PixArt-alpha/PixArt-XL-2-512x512
    """
    from fastdiff.cli.progress import status
    from fastdiff.models.catalogue import find
    from fastdiff.models.verification import verify as verified

    folder = find(model)
    with status("reading"):
        found = verified(folder)
    if found.damaged:
        named = ", ".join(str(path.relative_to(folder)) for path in found.damaged)
        places = " ".join(str(path.resolve()) for path in found.damaged)
        raise UsageError(
            f"{counted(len(found.damaged), 'file')} of {model} is not as published, {named}: delete {places} and "
            "download the model again"
        )
    if found.missing:
        named = ", ".join(str(path.relative_to(folder)) for path in found.missing)
        raise UsageError(
            f"{counted(len(found.missing), 'file')} of {model} is missing, {named}: download the model again"
        )
    unnamed = f"; {counted(len(found.unnamed), 'file')} without a digest" if found.unnamed else ""
    click.echo(f"{model}: {counted(len(found.sound), 'file')} as published{unnamed}")


def _listed(entry: "Entry", machine: "Machine | None") -> str:
    """Describe a model in a line: family, size, precision and memory; or say what is wrong with it."""
    from fastdiff.models.catalogue import describe

    try:
        description = describe(entry.path)
    except UsageError as error:
        return f"{_size(entry.size)}  broken: {error}"
    family = description.folder.pipeline.removesuffix("Pipeline")
    return f"{family}  {_size(entry.size)}  {_dtype(description)}  {_memory(description, machine)}"


def _dtype(description: "Description") -> str:
    """Return the precision in which the denoising network is stored."""
    from fastdiff.models.catalogue import NETWORKS

    stored = [description.networks[part].dtype for part in NETWORKS if part in description.networks]
    return stored[0] if stored else "no weights"


def _memory(description: "Description", machine: "Machine | None") -> str:
    """Say whether the weights fit the memory of the machine."""
    from fastdiff.apps.model_memory import fit

    if machine is None:
        return "memory unknown"
    found = fit(description, machine)
    kind = "GPU memory" if machine.device == "cuda" else "memory"
    verdict = f"fits with {found.option}" if found.option else "fits" if found.fits else "too large"
    return f"{verdict}: {_size(found.needed)} of {_size(machine.memory)} {kind}"


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
    scores = description.card.get("scores")
    return lines + [f"{key}: {value}" for key, value in (scores if isinstance(scores, Mapping) else {}).items()]


def _schedule(config: Mapping[str, Any]) -> str:
    """Describe a scheduler config, such as `DDIMScheduler, beta_schedule linear, prediction_type epsilon`."""
    from fastdiff.models.scheduler_config import is_flow

    if not config:
        return "not in the folder"
    name = config.get("_class_name")
    if is_flow(config):
        shift = config.get("shift", config.get("flow_shift", 1.0))
        shift = f"{shift:g}" if isinstance(shift, int | float) else repr(shift)
        if config.get("use_dynamic_shifting"):
            shift = "by the size of the picture"
        return f"{name}, flow matching, shift {shift}, prediction_type flow_prediction"
    betas, predicts = config.get("beta_schedule", "linear"), config.get("prediction_type", "epsilon")
    return f"{name}, beta_schedule {betas}, prediction_type {predicts}"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
