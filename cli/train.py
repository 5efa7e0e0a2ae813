"""`fastdiff train`: one sub-command for every application whose networks can be trained."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fastdiff.apps.running.atomic import writing
from fastdiff.apps.running.folder_locks import FolderLocks
from fastdiff.cli.exit_codes import OF_ONE
from fastdiff.cli.options import PATH, Command, Function, device as device_option, option
from fastdiff.solvers.errors import UsageError

if TYPE_CHECKING:
    from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
    from fastdiff.training.distillation.examples import Examples
    from fastdiff.training.distillation.plan import DistillationPlan
    from fastdiff.training.fit import Progress

Chosen = TypeVar("Chosen", bound="DistillationPlan")

COUNT = click.IntRange(1)
FONT_FILE = option(
    "--font", type=PATH, help="The font Noto Color Emoji. [default: the file of Debian's package]", group="Data"
)
DTYPE = option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    help="bfloat16 is faster where the device has it. [default: float32]",
    group="Run",
)
START_FROM = option(
    "--start-from", type=PATH, help="Finished weights to start from, such as the bundled ones.", group="Training"
)
SHARED_LABELS = option(
    "--shared-labels",
    type=click.IntRange(0, 1000),
    default=0,
    help="Timesteps below this one share five conditions, as in E-TSDM. [default: 0, none]",
    group="Training",
)
MINUTES_RANGE = click.FloatRange(0, min_open=True)
MINUTES = option(
    "--minutes",
    type=MINUTES_RANGE,
    default=math.inf,
    help="Training time in minutes, over all runs in the folder. [default: until the last step]",
    group="Training",
)
DEBUG = option("--debug", is_flag=True, help="Show the traceback of an error.", group="Run")


def folder_option(default: str) -> Callable[[Function], Function]:
    """Return the folder of a run."""
    told = f"Folder of the run. The same command resumes a stopped run there. [default: {default}]"
    return option("--folder", type=PATH, default=default, help=told, group="Training")


def distillation_options(folder: str) -> Callable[[Function], Function]:
    """Return the argument and the options of all distillations, whose default folder is `folder`."""
    stack = (
        click.argument("model"),
        option(
            "--pictures", type=PATH, help="Folder of pictures with captions, such as dog.jpg and dog.txt.", group="Data"
        ),
        FONT_FILE,
        folder_option(folder),
        option("--steps", type=COUNT, default=1500, help="Training steps. [default: 1500]", group="Training"),
        MINUTES,
        option("--batch", type=COUNT, default=32, help="Pictures per step. [default: 32]", group="Training"),
        option(
            "--guidance",
            type=click.FloatRange(1),
            default=4.0,
            help="Guidance scale that the result stands for. [default: 4.0]",
            group="Training",
        ),
        option(
            "--seed",
            type=click.IntRange(0),
            default=0,
            help="Seed of noise and weights. [default: 0]",
            group="Training",
        ),
        DTYPE,
        device_option,
        option("--compile", is_flag=True, help="Compile the network, with a C++ compiler: faster steps.", group="Run"),
        DEBUG,
    )
    return lambda function: reduce(lambda wrapped, each: each(wrapped), reversed(stack), function)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make and lock the folder of a run for the block, and turn errors of writing there into one sentence.

    Raises OutputError if another run holds it, or it cannot be written.
    """
    with FolderLocks() as locks, writing(folder):
        locks.add([folder])
        yield


@click.group(epilog=OF_ONE)
def command() -> None:
    """Train the networks of an application.

    \b
    Examples:
      fastdiff train docclean --pages clean-scans/ --folder runs/mine
      fastdiff train recogniser --dtype bfloat16
    """


@command.command(cls=Command, epilog=OF_ONE)
@option("--pages", type=PATH, help="Folder of your own clean pages: images and PDFs.", group="Data")
@option(
    "--pool",
    type=COUNT,
    default=800,
    help="Number of pages in all. Rendered ones fill it up. [default: 800]",
    group="Data",
)
@folder_option("runs/docclean")
@option(
    "--task",
    type=click.Choice(["clean", "deblur"]),
    default="clean",
    help="Damage of the pages: clean has all kinds, deblur mostly blur. [default: clean]",
    group="Data",
)
@option(
    "--stage",
    type=click.Choice(["all", "predictor", "denoiser", "ocr"]),
    default="all",
    help="Network to train: the predictor, the denoiser of its residual, or both in turn; ocr trains a deblurring "
    "predictor on with a recogniser of text. [default: all]",
    group="Training",
)
@option("--steps", type=COUNT, default=20_000, help="Training steps of each stage. [default: 20000]", group="Training")
@option(
    "--minutes",
    type=MINUTES_RANGE,
    default=math.inf,
    help="Training time of each stage in minutes, over all runs in the folder. [default: until the last step]",
    group="Training",
)
@option("--batch", type=COUNT, default=16, help="Patches per step. [default: 16]", group="Training")
@START_FROM
@option("--seed", type=click.IntRange(0), default=0, help="Seed of pages and weights. [default: 0]", group="Training")
@option(
    "--colour", is_flag=True, help="Train on colour pages, where all but dirt stays. Needs --task clean.", group="Data"
)
@option(
    "--width", type=click.IntRange(4), default=16, help="Channels of the first level. [default: 16]", group="Network"
)
@option(
    "--levels", type=click.IntRange(1, 6), default=4, help="Number of down-samplings. [default: 4]", group="Network"
)
@DTYPE
@device_option
@DEBUG
def docclean(
    pages: Path | None,
    pool: int,
    folder: Path,
    task: str,
    stage: str,
    steps: int,
    minutes: float,
    batch: int,
    start_from: Path | None,
    seed: int,
    colour: bool,
    width: int,
    levels: int,
    dtype: str,
    device: str,
    debug: bool,
) -> None:
    """Train the networks of docclean.

    Takes hours on a CPU. The same command resumes a stopped run from its last checkpoint. In the end the folder
    holds docclean.safetensors and its card, docclean.json, with recipe, fonts and licences.

    \b
    Examples:
      fastdiff train docclean                                    rendered pages, as for the bundled weights
      fastdiff train docclean --task deblur --folder runs/deblur --start-from runs/docclean/docclean.safetensors
      fastdiff train docclean --task deblur --folder runs/deblur --stage ocr
      fastdiff train docclean --pages clean/ --folder runs/mine  your own fonts and hands too
      fastdiff train docclean --colour --stage predictor --folder runs/colour --start-from docclean.safetensors
      fastdiff docclean scans/ --weights runs/mine/docclean.safetensors
    """
    from fastdiff.apps.device import resolve_device
    from fastdiff.training.docclean import ocr_stage
    from fastdiff.training.docclean.card import pack
    from fastdiff.training.docclean.colour_dataset import ColourMixture
    from fastdiff.training.docclean.dataset import MIXTURES
    from fastdiff.training.docclean.train import STAGES, TrainOptions, run

    if colour and task != "clean":
        raise UsageError("--colour is for --task clean: colour pages are hardly blurred")
    if stage == "ocr" and task != "deblur":
        raise UsageError("--stage ocr is for --task deblur: it makes blurred text legible")
    chosen = resolve_device(device, dtype)[0]
    with locked(folder):
        for name in STAGES if stage == "all" else (stage,):
            click.echo(f"{name}: {steps} steps, in {folder}", err=True)
            options = TrainOptions(
                folder=folder,
                stage=name,
                steps=steps,
                minutes=minutes,
                batch=batch,
                width=width,
                levels=levels,
                pages=pool,
                own=pages,
                seed=seed,
                dtype=dtype,
                device=chosen,
                mixture=ColourMixture() if colour else MIXTURES[task],
                start_from=start_from,
            )
            (ocr_stage.run if name == "ocr" else run)(options, _echo)
        weights = pack(folder)
    click.echo(f"{weights} ({weights.stat().st_size / 1e6:.1f} MB)")


@command.command(cls=Command, epilog=OF_ONE)
@FONT_FILE
@folder_option("runs/edit")
@option("--steps", type=COUNT, default=60_000, help="Training steps. [default: 60000]", group="Training")
@MINUTES
@option("--batch", type=COUNT, default=32, help="Scenes per step. [default: 32]", group="Training")
@option("--codec", type=PATH, help="Folder that `train codec` wrote. [default: a codec of patches]", group="Network")
@START_FROM
@option("--seed", type=click.IntRange(0), default=0, help="Seed of scenes and weights. [default: 0]", group="Training")
@SHARED_LABELS
@DTYPE
@device_option
@option("--compile", is_flag=True, help="Compile the transformer, with a C++ compiler: faster steps.", group="Run")
@DEBUG
def edit(
    font: Path | None,
    folder: Path,
    steps: int,
    minutes: float,
    batch: int,
    codec: Path | None,
    start_from: Path | None,
    seed: int,
    shared_labels: int,
    dtype: str,
    device: str,
    compile: bool,
    debug: bool,
) -> None:
    """Train the backbone of edit on rendered scenes.

    Takes hours on a CPU. The same command resumes a stopped run from its last checkpoint. In the end the folder
    `scenes` in it holds the backbone in the layout of diffusers, and its card, card.json.

    \b
    Examples:
      fastdiff train edit --steps 4500         as the bundled backbone began; its card has both runs
      fastdiff train edit --dtype bfloat16     where the device is fast at it
      fastdiff train edit --codec runs/codec/vae --dtype bfloat16 --compile      on a learned codec
      fastdiff train edit --folder runs/longer --start-from runs/edit/scenes    start from a finished one
    """
    from fastdiff.apps.device import resolve_device
    from fastdiff.training.edit.card import pack
    from fastdiff.training.edit.render import emoji_font
    from fastdiff.training.edit.train import TrainOptions, run

    chosen = resolve_device(device, dtype)[0]
    with locked(folder):
        click.echo(f"backbone: {steps} steps, in {folder}", err=True)
        options = TrainOptions(
            folder=folder,
            font=font or emoji_font(),
            steps=steps,
            minutes=minutes,
            batch=batch,
            seed=seed,
            dtype=dtype,
            device=chosen,
            shared_labels=shared_labels,
            codec=codec,
            start_from=start_from,
            compile=compile,
        )
        trained = run(options, _echo)
        target = pack(trained, options)
    click.echo(target)


@command.command(cls=Command, epilog=OF_ONE)
@FONT_FILE
@folder_option("runs/codec")
@option("--steps", type=COUNT, default=20_000, help="Of training. [default: 20000]", group="Training")
@MINUTES
@option("--seed", type=click.IntRange(0), default=0, help="Of scenes and weights. [default: 0]", group="Training")
@DTYPE
@device_option
@DEBUG
def codec(
    font: Path | None, folder: Path, steps: int, minutes: float, seed: int, dtype: str, device: str, debug: bool
) -> None:
    """Train the autoencoder of edit on rendered scenes.

    Takes about an hour on a CPU. The same command resumes a stopped run from its last checkpoint. In the end
    the folder `vae` in it holds the codec.

    \b
    Examples:
      fastdiff train codec --dtype bfloat16 --minutes 60
      fastdiff train edit --codec runs/codec/vae
    """
    from fastdiff.apps.device import resolve_device
    from fastdiff.training.edit.codec import TrainOptions, run
    from fastdiff.training.edit.render import emoji_font

    chosen = resolve_device(device, dtype)[0]
    with locked(folder):
        click.echo(f"codec: {steps} steps, in {folder}", err=True)
        options = TrainOptions(
            folder=folder,
            font=font or emoji_font(),
            steps=steps,
            minutes=minutes,
            seed=seed,
            dtype=dtype,
            device=chosen,
        )
        vae = run(options, _echo)
    click.echo(vae)


@command.command(cls=Command, epilog=OF_ONE)
@FONT_FILE
@folder_option("runs/recogniser")
@option("--steps", type=COUNT, default=5000, help="Training steps. [default: 5000]", group="Training")
@MINUTES
@option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    help="Seed of scenes and weights. Even and odd seeds train on different pairs of emoji and background. "
    "[default: 0]",
    group="Training",
)
@option(
    "--width",
    type=click.Choice(["16", "24", "32"]),
    default="24",
    help="Channels of the first stage. [default: 24]",
    group="Network",
)
@DTYPE
@device_option
@DEBUG
def recogniser(
    font: Path | None,
    folder: Path,
    steps: int,
    minutes: float,
    seed: int,
    width: str,
    dtype: str,
    device: str,
    debug: bool,
) -> None:
    """Train the network that captions scenes.

    Takes minutes on a CPU. The same command resumes a stopped run from its last checkpoint. In the end the
    folder holds recogniser.safetensors and its card, recogniser.json, with the share of right captions.

    \b
    Examples:
      fastdiff train recogniser --dtype bfloat16                               the recipe of the bundled one
      fastdiff train recogniser --dtype bfloat16 --seed 1 --width 32 --folder runs/judge
    """
    from fastdiff.apps.device import resolve_device
    from fastdiff.training.edit.recogniser import TrainOptions, run
    from fastdiff.training.edit.recogniser_card import pack
    from fastdiff.training.edit.render import emoji_font

    chosen = resolve_device(device, dtype)[0]
    with locked(folder):
        click.echo(f"recogniser: {steps} steps, in {folder}", err=True)
        options = TrainOptions(
            folder=folder,
            font=font or emoji_font(),
            steps=steps,
            minutes=minutes,
            seed=seed,
            width=int(width),
            dtype=dtype,
            device=chosen,
        )
        trained = run(options, _echo)
        target = pack(trained, options)
    click.echo(target)


@command.command(cls=Command, epilog=OF_ONE)
@option("--photos", type=PATH, help="Folder of your own photographs. [default: Debian's wallpapers]", group="Data")
@folder_option("runs/prior")
@option("--steps", type=COUNT, default=40_000, help="Training steps. [default: 40000]", group="Training")
@MINUTES
@option("--batch", type=COUNT, default=16, help="Crops per step. [default: 16]", group="Training")
@option("--seed", type=click.IntRange(0), default=0, help="Seed of crops and weights. [default: 0]", group="Training")
@SHARED_LABELS
@DTYPE
@device_option
@DEBUG
def prior(
    photos: Path | None,
    folder: Path,
    steps: int,
    minutes: float,
    batch: int,
    seed: int,
    shared_labels: int,
    dtype: str,
    device: str,
    debug: bool,
) -> None:
    """Train the natural-image prior of attack on photographs.

    Takes hours on a CPU. The same command resumes a stopped run from its last checkpoint. In the end the folder
    `photos` in it holds the prior in the layout of diffusers, and its card, card.json, with the photographs' licences.

    \b
    Examples:
      fastdiff train prior --steps 4000 --dtype bfloat16     the recipe of the bundled prior
      fastdiff train prior --photos holiday/    your own photographs
    """
    from fastdiff.apps.device import resolve_device
    from fastdiff.training.prior.card import pack
    from fastdiff.training.prior.photos import listed_photos, photos_in
    from fastdiff.training.prior.train import TrainOptions, run

    chosen = resolve_device(device, dtype)[0]
    with locked(folder):
        found = photos_in(photos) if photos else listed_photos()
        click.echo(f"prior: {steps} steps on {len(found)} photographs, in {folder}", err=True)
        options = TrainOptions(
            folder=folder,
            photos=found,
            steps=steps,
            minutes=minutes,
            batch=batch,
            seed=seed,
            dtype=dtype,
            device=chosen,
            shared_labels=shared_labels,
        )
        target = pack(run(options, _echo), options)
    click.echo(target)


@command.command(cls=Command, epilog=OF_ONE)
@distillation_options("runs/lcm")
@option("--rank", type=click.IntRange(1, 1024), default=32, help="Rank of the LoRA. [default: 32]", group="Network")
def lcm(pictures: Path | None, font: Path | None, debug: bool, **chosen: Any) -> None:
    """Distil MODEL to one to eight steps without guidance, as a LoRA (LCM-LoRA).

    MODEL is one of PixArt or Stable Diffusion 1 or 2. Takes an hour or more on a CPU. The same command resumes a
    stopped run; another model, guidance, rank or seed begins anew. In the end the folder `lcm` in it holds the LoRA
    in the layout of PEFT, and its card, card.json, with scores on prompts that never trained. `fastdiff edit --preset
    lcm --lora FILE` edits with it.

    \b
    Examples:
      fastdiff train lcm scenes --dtype bfloat16 --compile
      fastdiff train lcm my-model/ --pictures captioned/
    """
    from fastdiff.models.lora import check_peft

    check_peft()
    from fastdiff.training.distillation.scores import score
    from fastdiff.training.lcm.card import pack
    from fastdiff.training.lcm.student import student
    from fastdiff.training.lcm.train import TrainOptions, run

    with _distillation("lcm", TrainOptions, pictures, font, chosen) as (options, teacher, examples):
        trained = run(options, teacher, examples, _echo)
        scores = score(teacher, "lcm", student(teacher, trained), options.guidance, examples.held_out())
        target = pack(trained, options, examples.description, scores)
    click.echo(target)


@command.command(cls=Command, epilog=OF_ONE)
@distillation_options("runs/speedup")
def speedup(pictures: Path | None, font: Path | None, debug: bool, **chosen: Any) -> None:
    """Train MODEL to four steps that obey negative prompts (SpeedUpNet).

    MODEL is one of PixArt or Stable Diffusion 1 or 2; its fine-tunes take the adapter without training again. Takes an
    hour or more on a CPU. The same command resumes a stopped run; another model, guidance or seed begins anew. In the
    end the folder `speedup` in it holds the adapter and its card, card.json, with scores on prompts that never trained.
    `fastdiff edit --preset speedup --speedup FILE` edits with it, and `fastdiff.models.speedup_denoiser` samples in
    Python.

    \b
    Examples:
      fastdiff train speedup scenes --dtype bfloat16 --compile
      fastdiff train speedup my-model/ --pictures captioned/
    """
    from fastdiff.training.distillation.scores import score
    from fastdiff.training.speedup.card import pack
    from fastdiff.training.speedup.student import student
    from fastdiff.training.speedup.train import TrainOptions, run

    with _distillation("speedup", TrainOptions, pictures, font, chosen) as (options, teacher, examples):
        trained = run(options, teacher, examples, _echo)
        scores = score(teacher, "speedup", student(teacher, trained), options.guidance, examples.held_out())
        target = pack(trained, options, examples.description, scores)
    click.echo(target)


@contextmanager
def _distillation(
    name: str, make: Callable[..., Chosen], pictures: Path | None, font: Path | None, chosen: dict[str, Any]
) -> Iterator[tuple[Chosen, "LatentDiffusionModel", "Examples"]]:
    """Lock the folder for the block; give it the options that `make` makes of the chosen ones, teacher and examples."""
    from fastdiff.apps.device import resolve_device
    from fastdiff.training.distillation.examples import find_examples
    from fastdiff.training.distillation.plan import load_teacher

    device = resolve_device(chosen["device"], chosen["dtype"])[0]
    with locked(chosen["folder"]):
        options = make(**chosen | {"device": device})
        click.echo(f"{name}: {options.steps} steps, in {options.folder}", err=True)
        teacher = load_teacher(options)
        yield options, teacher, find_examples(teacher, options, pictures, font)


def _echo(progress: "Progress") -> None:
    click.echo(_summary(progress), err=True)


def _summary(progress: "Progress") -> str:
    """Format progress, such as `  400/20000, loss 0.0512, validation 0.0498, 5:12:40 left`."""
    left = timedelta(seconds=round(progress.seconds_left))
    errors = f"loss {progress.loss:.4f}, validation {progress.validation:.4f}"
    return f"  {progress.step}/{progress.steps}, {errors}, {left} left"
