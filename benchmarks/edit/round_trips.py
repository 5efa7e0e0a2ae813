"""Round trips: every inverter on models, from the latents of a picture to noise and back under the same prompt.

    python -m benchmarks.edit.round_trips MODELS [--steps N] [--strength SHARE] [--size PIXELS] [--json PATH]

Nothing helps: no offsets to the recorded states, no pixels of the input, and the network is called in both directions.
`python tests/tiny_folders.py DIR` writes a small random model of every family.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import sections
from benchmarks.result import Cell, Section, Table
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.apps.edit.sampling import Edit
from fastdiff.apps.images.picture import read
from fastdiff.inversion.registry import FLOW_ONLY, INVERTERS
from fastdiff.models.diffusion_model import EditableModel
from fastdiff.models.registry import is_flow_model, load_editable
from fastdiff.solvers.errors import FastdiffError

EXACT = ("fixed-point", "edit-friendly", "ledits", "lcm", "o-belm")  # to rounding, where every step is solved
PICTURE = Path(__file__).parents[2] / "data" / "samples-edit" / "dog-face.png"
PROMPT = "a dog"
STEPS, STRENGTH = 20, 0.85


@dataclass(frozen=True)
class RoundTrip:
    """The result of one inverter on one model."""

    model: str
    inverter: str
    error: float  # the largest of a latent; all latents have a deviation of 1
    solved: bool  # False if the method reports a step that it did not solve
    nfe: int  # of the inversion


def round_trips(name: str, steps: int, strength: float, side: int | None) -> list[RoundTrip]:
    """Measure every inverter that the model allows, on the sample picture at `side` pixels, or the model's own."""
    model = load_editable(name)
    picture = _picture(side or model.resolution)
    allowed = [each for each in INVERTERS if each not in FLOW_ONLY or is_flow_model(name)]
    return [_round_trip(model, picture, inverter, steps, strength) for inverter in allowed]


def run(models: Sequence[str], steps: int, strength: float, side: int | None) -> Section:
    """Measure on all models, and make the table of the errors."""
    with torch.inference_mode(), warnings.catch_warnings(action="ignore"):
        trips = [trip for model in models for trip in round_trips(model, steps, strength, side)]
    names = list(dict.fromkeys(trip.model for trip in trips))
    lines = [(inverter, *(_cell(trips, inverter, model) for model in names)) for inverter in INVERTERS]
    title = f"Round trips of {steps} steps from {strength:g} of the schedule: the largest error of a latent"
    note = "* some step was not solved; - the method needs a flow model"
    return Section([Table(title, ("inverter", *names), lines, note)], [asdict(trip) for trip in trips])


def _round_trip(model: EditableModel, picture: Tensor, inverter: str, steps: int, strength: float) -> RoundTrip:
    preset = replace(PRESETS["ledits"], inversion=inverter, steps=steps, strength=strength, pinned=False)
    prompt, latents = model.encode_prompts([PROMPT]), model.encode(picture)
    latents = latents / latents.std()  # as those of trained models are, nearly
    size = picture.shape[-2], picture.shape[-1]
    edit = Edit(model, preset, latents, size, prompt, prompt, seed=0)
    inversion = edit.invert()
    error = (edit.regenerate(inversion) - latents).abs().max()
    solved = inversion.converged is None or bool(inversion.converged.all())
    return RoundTrip(Path(model.name).name, inverter, float(error), solved, inversion.nfe)


def _picture(side: int) -> Tensor:
    colour = read(PICTURE).colour
    return F.interpolate(colour, (side, side), mode="bilinear", antialias=True, align_corners=False)


def _cell(trips: Sequence[RoundTrip], inverter: str, model: str) -> Cell:
    found = [trip for trip in trips if (trip.inverter, trip.model) == (inverter, model)]
    return f"{found[0].error:.1e}{'' if found[0].solved else ' *'}" if found else None


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.edit.round_trips", description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODELS", help="names of models, or folders")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N")
    parser.add_argument("--strength", type=float, default=STRENGTH, metavar="SHARE")
    parser.add_argument(
        "--size", type=int, metavar="PIXELS", help="of a side of the picture; by default the model's own"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the numbers here")
    arguments = parser.parse_args()
    given = (arguments.models, arguments.steps, arguments.strength, arguments.size)
    sections.run(["round-trips"], lambda name: run(*given), arguments.json)


if __name__ == "__main__":
    try:
        main()
    except FastdiffError as error:
        sys.exit(f"{error}")
