"""Models by name: the bundled ones, folders of one's own, and what was downloaded from the hub."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from os.path import isdir
from pathlib import Path
from typing import Any

from fastdiff.models.checkpoint import check_checkpoint
from fastdiff.models.diffusers_folder import SAFETY_CHECKER, ModelFolder, Weights, read_folder, read_weights
from fastdiff.models.hub import HubId, cached, downloaded
from fastdiff.models.json_file import read_object
from fastdiff.solvers.errors import MissingError, UsageError

NETWORKS = ("transformer", "unet")  # parts that denoise
# Settings of networks that their configs do not tell, by pipeline: latents of a side in training, and in a token.
UNTOLD = {"FluxPipeline": {"sample_size": 128, "patch_size": 2}}
WITHOUT_UNCONDITIONAL = frozenset({"FluxPipeline"})  # whose networks have their guidance as an input, or none
BUNDLED = ("scenes", "photos")  # folders of fastdiff.data: for edit, for attack


@dataclass(frozen=True)
class Entry:
    """A model on this computer."""

    name: str  # what `find` takes
    path: Path
    size: int  # bytes of its folder


@dataclass(frozen=True)
class Description:
    """The contents of a model folder, read from its files."""

    folder: ModelFolder
    licence: str
    resolution: int | None  # pixels of a side of the pictures that it was trained on, where its configs tell
    work: int | None  # multiplications and additions of such a picture's way through the network, attention left out
    networks: Mapping[str, Weights]  # by part, of those that fastdiff loads
    scheduler: Mapping[str, Any]  # its config
    card: Mapping[str, Any]  # card.json; empty where there is none


def find(model: str, config: Path | None = None) -> Path:
    """Return the folder of a bundled name, a local folder, or a downloaded hub id (owner/name or owner/name@revision).

    For a checkpoint in one file it is `config`. Downloads nothing. Raises UsageError for any other name, MissingError
    for a model that is absent or incomplete.
    """
    if model in BUNDLED and config is None:
        return _bundled(model)
    check_checkpoint(model, config)
    if config is not None:
        return config
    if isdir(model):
        return Path(model)
    if hub_id := HubId.parse(model):
        return cached(hub_id)
    known = ", ".join(BUNDLED)
    raise UsageError(f"unknown model {model!r}: give {known}, a folder, or a hub id such as owner/name@revision")


def here() -> tuple[Entry, ...]:
    """Return the bundled and the downloaded models."""
    bundled = [(name, _data(name)) for name in BUNDLED if _data(name).is_dir()]
    return tuple(Entry(str(name), path, _size(path)) for name, path in (*bundled, *downloaded()))


def describe(path: Path) -> Description:
    """Raises UsageError for a folder that is not whole."""
    folder = read_folder(path)
    loaded = [part for part in folder.parts if part != SAFETY_CHECKER and (path / part / "config.json").is_file()]
    networks = {part: read_weights(path / part) for part in loaded}
    config = _config(path, *NETWORKS) | UNTOLD.get(folder.pipeline, {})
    return Description(
        folder,
        _licence(path),
        _resolution(path, config),
        network_work(config, networks),
        networks,
        _optional(path / "scheduler" / "scheduler_config.json"),
        _optional(path / "card.json"),
    )


def _bundled(name: str) -> Path:
    if not _data(name).is_dir():
        raise MissingError(f"the bundled model {name} does not come with this version: name another with --model")
    return _data(name)


def _data(name: str) -> Path:
    return Path(str(files("fastdiff.data") / name))


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _optional(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}


def _licence(path: Path) -> str:
    """Return the licence of card.json, else that of the hub's model card, the front matter of README.md.

    A README.md that cannot be read states none.
    """
    stated = _optional(path / "card.json").get("licence")
    if not stated and (path / "README.md").is_file():
        from huggingface_hub import ModelCard
        from yaml import YAMLError

        with suppress(YAMLError, ValueError, OSError):  # of its front matter, of its encoding, of the disk
            stated = ModelCard.load(path / "README.md", ignore_metadata_errors=True).data.get("license")
    return str(stated or "not stated")


def _resolution(path: Path, config: Mapping[str, Any]) -> int | None:
    latents = config.get("sample_size")
    codec = _config(path, "vae", "vqvae")
    levels = codec.get("block_out_channels", codec.get("encoder_block_out_channels"))
    return latents * 2 ** (len(levels) - 1) if isinstance(latents, int) and isinstance(levels, list) else None


def network_work(config: Mapping[str, Any], networks: Mapping[str, Weights]) -> int | None:
    """Return the work of one picture: every weight acts at every position of its block.

    Those are the tokens of a transformer; in a U-Net a quarter for every halving.
    """
    side, patch = config.get("sample_size"), config.get("patch_size")
    if not isinstance(side, int):
        return None
    if "transformer" in networks:
        return (side // patch) ** 2 * networks["transformer"].numbers if isinstance(patch, int) and patch else None
    levels = config.get("block_out_channels")
    if "unet" not in networks or not isinstance(levels, list):
        return None
    return sum(
        numbers * side**2 >> 2 * _halvings(block, len(levels)) for block, numbers in networks["unet"].blocks.items()
    )


def _halvings(block: str, levels: int) -> int:
    """Return how often a U-Net has halved its input in a block, such as down_blocks.1."""
    kind, _, number = block.partition(".")
    if kind == "mid_block":
        return levels - 1
    if kind not in ("down_blocks", "up_blocks") or not number.isdecimal():
        return 0
    return min(int(number), levels - 1) if kind == "down_blocks" else max(levels - 1 - int(number), 0)


def _config(path: Path, *parts: str) -> dict[str, Any]:
    """Return the config of the first component that exists."""
    return next((config for part in parts if (config := _optional(path / part / "config.json"))), {})
