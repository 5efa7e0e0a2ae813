"""`fastdiff invert`."""

from pathlib import Path
from typing import Any

import click

from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.cli.exit_codes import OF_ONE
from fastdiff.cli.options import PATH, Command, adapting, computing, option


@click.command(cls=Command, epilog=OF_ONE)
@click.argument("image", type=PATH)
@option(
    "-o", "--out", type=PATH, help="Inversion file to write. [default: IMAGE-inversion.safetensors]", group="Output"
)
@option(
    "--force",
    is_flag=True,
    help="Replace the file, and invert pictures unlike the model's training data.",
    group="Output",
)
@option("--json", "as_json", is_flag=True, help="Print the measurements as JSON.", group="Output")
@option("--source", help="Describes the picture. [default: the caption of the bundled recogniser]", group="Method")
@option(
    "--model",
    default="scenes",
    help="Model: a name of `fastdiff models`, a hub id or a folder. [default: scenes]",
    group="Method",
)
@adapting
@option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    help="Preset whose inversion to use. [default: quick for scenes, rf-inversion for FLUX, else ledits]",
    group="Method",
)
@option("--solver", help="Invert by this solver of `fastdiff solvers` instead of the preset's method.", group="Method")
@option("--steps", type=click.IntRange(1, 1000), help="Steps of the inversion. [default: the preset's]", group="Method")
@option(
    "--strength",
    type=float,
    help="Share of the noise schedule that the inversion covers, 0.05 to 1. [default: the preset's]",
    group="Method",
)
@computing
@option("--debug", is_flag=True, help="Show the traceback of an error.", group="Run")
def command(image: Path, as_json: bool, debug: bool, **chosen: Any) -> int:
    """Invert a picture into a file, and measure the reconstruction.

    Prints the method, its network calls, and the error of the round trip in latents and in pixels.

    \b
    Example:
      fastdiff invert fox.png --source "fox on a teal background" --preset dit4edit-exact
    """
    from fastdiff.cli.progress import status

    with status("inverting"):
        from fastdiff.apps.edit.invert_command import run

        inverted = run(Options((str(image),), prompt="", **chosen))
    if as_json:
        click.echo(inverted.to_json(), nl=False)
    else:
        if inverted.notes:
            click.echo(f"{inverted.output}: {'; '.join(inverted.notes)}")
        click.echo(
            f"{inverted.output}: {inverted.inversion}, {inverted.calls} calls; the round trip is "
            f"{inverted.roundtrip_error:.1e} off in latents and reaches {inverted.psnr:.2f} dB in pixels, the codec "
            f"alone {inverted.codec_ceiling:.2f} dB"
        )
    return 0
