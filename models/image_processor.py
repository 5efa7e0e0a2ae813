"""Converts an image processor of transformers to the `Preprocessing` of a classifier."""

from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any

from fastdiff.models.classifier import Preprocessing
from fastdiff.solvers.errors import UsageError

RESAMPLING = {2: "bilinear", 3: "bicubic"}  # of PIL, as torch names them
NEEDED = ("do_resize", "do_rescale")
KNOWN = (*NEEDED, "do_center_crop", "do_normalize", "do_convert_rgb", "do_reduce_labels")
WHOLE = 384  # pixels of the input from which on ConvNeXT sees all of a picture
LARGEST = 4096  # pixels of a side


def preprocessing_of(processor: Any) -> Preprocessing:
    """The view of a processor. Raises UsageError for one that does what a view cannot, by its name in the config."""
    kind, settings = type(processor), processor.to_dict()
    is_convnext = kind.__name__.startswith("ConvNext")
    if unsupported := list(_unsupported(settings)):
        raise UsageError(f"{kind.__name__} has {', '.join(unsupported)}, which is not known here")
    if "resize" in vars(kind) and not is_convnext:
        raise UsageError(f"{kind.__name__} resizes pictures in a way of its own, which is not known here")
    scaled = side = _side(settings["size"])
    squash = "shortest_edge" not in settings["size"]
    if is_convnext and side >= WHOLE:
        squash = True
    elif is_convnext:
        scaled = int(side / settings["crop_pct"])
    elif settings.get("do_center_crop"):
        side = _side(settings["crop_size"])
    if side > scaled:
        raise UsageError(f"a crop_size of {side} is more than the size of {scaled}")
    normal = settings.get("do_normalize")
    return Preprocessing(
        side,
        scaled,
        squash,
        tuple(settings["image_mean"]) if normal else (0.0,) * 3,
        tuple(settings["image_std"]) if normal else (1.0,) * 3,
        RESAMPLING[settings["resample"]],
    )


def _unsupported(settings: Mapping[str, Any]) -> Iterator[str]:
    """Settings of a config that a view does not follow."""
    for name, value in settings.items():
        extra = name in ("rescale_offset", "include_top") or (name.startswith("do_") and name not in KNOWN)
        if (extra and value) or (name in NEEDED and not value):
            yield f"{name} {value}"
    if not isclose(settings["rescale_factor"], 1 / 255, rel_tol=1e-3):
        yield f"rescale_factor {settings['rescale_factor']:.3g}"
    if settings["resample"] not in RESAMPLING:
        yield f"resample {settings['resample']}"


def _side(size: Mapping[str, Any]) -> int:
    match size:
        case {"shortest_edge": int(side), **rest} if not rest and 0 < side <= LARGEST:
            return side
        case {"height": int(side), "width": other, **rest} if not rest and other == side and 0 < side <= LARGEST:
            return side
    raise UsageError(f"pictures of {dict(size)}: squares of 1 to {LARGEST} pixels are known")
