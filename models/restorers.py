"""Where the networks of document clean-up come from: the bundled weights, a file of one's own, a published pair."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fastdiff.models.nafdpm import Predictor, ResidualDenoiser, load, read_checkpoint
from fastdiff.solvers.errors import MissingError, UsageError
from fastdiff.solvers.validation import check_name

BUNDLED = {
    "clean": "docclean.safetensors",
    "colour": "docclean-colour.safetensors",  # the task "clean" on pages with colour
    "deblur": "docclean-deblur.safetensors",
    "binarize": "docclean.safetensors",
}
LARGEST = 2**30  # bytes of a weights file that is read at all


@dataclass(frozen=True)
class Pair:
    """A predictor and, if there is one, the denoiser of its residual. Both take pictures of `channels` channels."""

    predictor: Predictor
    denoiser: ResidualDenoiser | None
    channels: int


def bundled(name: str) -> Path:
    """The weights file of a name of BUNDLED. Raises UsageError for another name, MissingError for a lost file."""
    check_name("bundled weights", name, BUNDLED)
    path = Path(str(files("fastdiff.data") / BUNDLED[name]))
    if not path.exists():
        raise MissingError(f"the bundled weights {path} are missing: install the package again")
    return path


def read_pair(path: Path) -> Pair:
    """Networks from a weights file (`predictor.*` and `denoiser.*` tensors), or from files of one network each.

    Such are published checkpoints and what a stage of training leaves. A folder of two is a pair. Raises UsageError
    for anything else.
    """
    weights: dict[str, Tensor] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        weights |= _read(file)
    parts = {name: _part(weights, name) for name in ("predictor", "denoiser")}
    if not parts["predictor"]:
        raise UsageError(f"{path} holds no predictor: expected tensors named 'predictor.*', or a published checkpoint")
    predictor = load(Predictor, parts["predictor"])
    denoiser = load(ResidualDenoiser, parts["denoiser"]) if parts["denoiser"] else None
    channels = [len(part["ending.weight"]) for part in parts.values() if part]
    if len(set(channels)) > 1:
        raise UsageError(
            f"the denoiser of {path} has {channels[1]} channels and its predictor {channels[0]}: "
            "give the denoiser that was trained with this predictor"
        )
    return Pair(predictor, denoiser, channels[0])


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise UsageError(f"{path} is not a weights file of at most 1 GiB")
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else read_checkpoint(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is not a readable safetensors file") from error
    if any(name.startswith(("predictor.", "denoiser.")) for name in weights):
        return weights
    role = "denoiser" if any(name.startswith("time_mlp") for name in weights) else "predictor"
    return {f"{role}.{name}": value for name, value in weights.items()}


def _part(weights: dict[str, Tensor], role: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{role}."): value for name, value in weights.items() if name.startswith(f"{role}.")}
