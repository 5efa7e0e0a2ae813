"""`fastdiff invert`."""

from pathlib import Path
from typing import Any

import click

from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.cli.options import PATH, Command, computing, option


@click.command(cls=Command)
@click.argument("image", type=PATH)
@option("-o", "--out", type=PATH, help="The file [default: IMAGE-inversion.safetensors].", group="Output")
@option("--force", is_flag=True, help="Replace the file, and invert pictures unlike the model's.", group="Output")
@option("--json", "as_json", is_flag=True, help="Print the figures as JSON.", group="Output")
@option("--source", help="What the picture shows.", group="Method")
@option(
    "--model", default="scenes", help="A name, hub id or folder (fastdiff models). [default: scenes]", group="Method"
)
@option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    help="Whose inversion [default: quick for scenes, else ledits].",
    group="Method",
)
@option("--solver", help="A solver of the core in place of the preset's inversion.", group="Method")
@option("--steps", type=click.IntRange(1, 1000), help="Of the inversion [default: the preset's].", group="Method")
@option("--strength", type=float, help="How far to go back to noise, up to 1 [default: the preset's].", group="Method")
@computing
@option("--debug", is_flag=True, help="Show where an error came from.", group="Run")
def command(image: Path, as_json: bool, debug: bool, **chosen: Any) -> int:
    """Invert a picture into a file, and say how exactly the file gives it back.

    \b
    Example:
      fastdiff invert fox.png --source "fox on a teal background" --preset dit4edit-exact
    """
    from fastdiff.apps.edit.inverting import run

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
