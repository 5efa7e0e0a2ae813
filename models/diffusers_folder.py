"""Model folders in the layout of diffusers, which anyone may have made: what is in them, read without running any."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from fastdiff.models.json_file import read_object
from fastdiff.solvers.errors import UsageError

WEIGHTS = ("diffusion_pytorch_model.safetensors", "model.safetensors")  # as diffusers and transformers name them
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # as the headers of files name them
SAFETY_CHECKER = "safety_checker"  # a part that is never loaded
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class ModelFolder:
    """The contents of `model_index.json`."""

    path: Path
    pipeline: str  # the class of diffusers that is made of the whole
    parts: Mapping[str, str]  # name of a part, which is its folder -> its class, such as `diffusers.AutoencoderKL`
    settings: Mapping[str, object]  # of the pipeline: all other entries


@dataclass(frozen=True)
class Weights:
    """The safetensors files of one component."""

    files: tuple[Path, ...]
    numbers: int
    size: int  # bytes
    dtype: str  # in which most of the numbers are stored, such as float32
    blocks: Mapping[str, int]  # how the names of tensors begin, two levels deep -> numbers
    variant: str | None = None  # such as "fp16", where the folder has no others


def read_folder(path: Path) -> ModelFolder:
    """The index of a model folder. Raises UsageError where there is none that can be read."""
    if not (path / "model_index.json").is_file():
        raise UsageError(f"{path} has no model_index.json: give a model folder in the layout of diffusers")
    content = read_object(path / "model_index.json")
    if not isinstance(content.get("_class_name"), str):
        raise UsageError(f"{path / 'model_index.json'} names no pipeline by _class_name")
    parts = dict(_parts(content))
    settings = {name: value for name, value in content.items() if name not in parts}
    return ModelFolder(path, str(content["_class_name"]), parts, settings)


def read_weights(part: Path) -> Weights:
    """The weights in the folder of a part, by the headers of their files.

    Raises UsageError for weights that are missing, pickled, cut short, or spread over other folders.
    """
    variant, files = _weight_files(part)
    blocks: Counter[str] = Counter()
    dtypes: Counter[str] = Counter()
    try:
        for file in files:
            for name, dtype, numbers in _tensors(file):
                blocks[".".join(name.split(".")[:2])] += numbers
                dtypes[dtype] += numbers
    except (SafetensorError, OSError) as error:
        raise UsageError(f"the weights in {part} are not whole: {error}") from error
    ((most, _),) = dtypes.most_common(1) or [("F32", 0)]
    size = sum(file.stat().st_size for file in files)
    return Weights(files, blocks.total(), size, DTYPES.get(most, most), blocks, variant)


def _parts(content: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in content.items():
        match value:
            case [str(library), str(kind)]:
                yield name, f"{library}.{kind}"


def _weight_files(part: Path) -> tuple[str | None, tuple[Path, ...]]:
    """Return the variant and the files: those without a variant, else in the order of `_variants`."""
    for variant in (None, *_variants(part)):
        for name in WEIGHTS:
            mark = "" if variant is None else f".{variant}"
            index, file = part / f"{name}.index{mark}.json", part / f"{Path(name).stem}{mark}.safetensors"
            if index.is_file():
                return variant, _shards(index)
            if file.is_file():
                return variant, (file,)
    if any(file for pattern in PICKLES for file in part.glob(pattern)):
        raise UsageError(f"the weights in {part} are pickled, and such are never read: safetensors are needed")
    raise UsageError(f"{part} holds no weights: one of {', '.join(WEIGHTS)} is needed")


def _variants(part: Path) -> list[str]:
    """Return the variants of the weights in a folder, fp16 first."""
    found = set()
    for name in WEIGHTS:
        single, index = re.escape(Path(name).stem), re.escape(name)
        pattern = re.compile(rf"{single}\.(\w+)\.safetensors|{index}\.index\.(\w+)\.json")
        found |= {match[1] or match[2] for file in part.glob("*") if (match := pattern.fullmatch(file.name))}
    return sorted(found, key=lambda variant: (variant != "fp16", variant))


def _shards(index: Path) -> tuple[Path, ...]:
    listed = read_object(index).get("weight_map")
    names = set(listed.values()) if isinstance(listed, dict) else set()
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise UsageError(f"{index} lists no weights, or some outside its folder")
    files = tuple(index.with_name(name) for name in sorted(names))
    for file in files:
        if not file.is_file():
            raise UsageError(f"the weights in {index.parent} are not whole: {file.name} is missing")
    return files


def _tensors(file: Path) -> Iterator[tuple[str, str, int]]:
    """Yield the name, the dtype and the count of numbers of every tensor."""
    with safe_open(file, framework="np") as content:
        for name in content.keys():  # noqa: SIM118
            header = content.get_slice(name)
            yield name, header.get_dtype(), prod(header.get_shape())
