"""Files of SpeedUpNets: safetensors with the name and the fingerprint of the base model in the metadata.

Files may come from strangers: reading validates everything and runs nothing. What decides whether an adapter fits a
model is not the fingerprint, which every fine-tune changes, but the sampled weights of its network
(`SpeedUpNet.check_network`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fastdiff.models.speedup.adapter import SAMPLED, SpeedUpNet
from fastdiff.solvers.errors import MissingError, UsageError

BUNDLED = "scenes-speedup/speedup.safetensors"  # in fastdiff.data: of `fastdiff train speedup scenes`
FORMAT = 1
LARGEST = 2**32  # bytes of a file that is read
MOST = 1000  # layers
DAMAGED = (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError)


@dataclass(frozen=True)
class SpeedUpFile:
    """Content of a file."""

    adapter: SpeedUpNet
    model: str  # name of the base model
    fingerprint: str  # of its network, `fastdiff.models.fingerprint`

    def save(self, path: Path) -> None:
        """Write the file, in half precision. The same content gives the same bytes."""
        header = {"format": FORMAT, "model": self.model, "fingerprint": self.fingerprint}
        weights = {
            name: (value if name == "base" else value.half()).detach().cpu().contiguous()
            for name, value in self.adapter.state_dict().items()
        }
        save_file(weights, path, {"fastdiff": json.dumps(header, sort_keys=True)})


def bundled_path() -> Path:
    """Return the file of the SpeedUpNet of the bundled model scenes. Raises MissingError where it is lost."""
    path = Path(str(files("fastdiff.data") / BUNDLED))
    if not path.exists():
        raise MissingError(f"the bundled weights {path} are missing: install the package again")
    return path


def bundled_speedup() -> SpeedUpFile:
    """Read the SpeedUpNet of the bundled model scenes. Raises MissingError where its file is lost."""
    return read_speedup_file(bundled_path())


def read_speedup_file(path: Path) -> SpeedUpFile:
    """Read the file at `path`, float32 on the CPU. Raises UsageError for any other file, and for a newer format."""
    if not path.exists():
        raise UsageError(f"cannot read the SpeedUpNet file {path}: there is no such file")
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise UsageError(f"{path} is not a SpeedUpNet file of at most {LARGEST // 2**30} GiB")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})["fastdiff"])
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        if (version := header["format"]) != FORMAT:
            raise UsageError(f"{path} is a SpeedUpNet file of format {version}: this version reads format {FORMAT}")
        adapter = SpeedUpNet(_sizes(weights))
        adapter.load_state_dict(weights)
        if not all(weight.isfinite().all() for weight in weights.values()):
            raise ValueError("weights")
        return SpeedUpFile(adapter.eval().requires_grad_(False), str(header["model"]), str(header["fingerprint"]))
    except DAMAGED as error:
        raise UsageError(f"{path} is not a SpeedUpNet file, or it is damaged") from error


def _sizes(weights: Mapping[str, Tensor]) -> list[tuple[int, int]]:
    """Return the channels of prompts and of attention of every layer. Raises ValueError and KeyError as needed."""
    count, sampled = weights["base"].shape
    if sampled != SAMPLED or not 0 < count <= MOST:
        raise ValueError("base")
    keys = [weights[f"layers.{index}.negative.to_k.weight"] for index in range(count)]
    return [(key.shape[1], key.shape[0]) for key in keys]
