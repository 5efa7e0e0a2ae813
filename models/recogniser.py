"""A small convolutional network that recognises what a scene shows."""

import json
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fastdiff.models.captions import caption
from fastdiff.solvers.errors import MissingError, UsageError

WEIGHTS = "recogniser.safetensors"  # that ship
LARGEST = 2**22  # bytes of a weights file that is read at all
SIDE = 128  # pixels of the pictures it was trained on


@dataclass(frozen=True)
class Labels:
    """The words that a recogniser can say, in the order of its outputs."""

    concepts: tuple[str, ...]
    kinds: tuple[str, ...]
    colours: tuple[str, ...]


class Logits(NamedTuple):
    """The logits of the three heads, each (B, number of words)."""

    concept: Tensor
    kind: Tensor
    colours: Tensor  # the share of the background that each colour takes


@dataclass(frozen=True)
class Reading:
    """The recognised contents of a picture, with probabilities in [0, 1]."""

    concept: str
    kind: str
    colours: tuple[str, ...]
    confidence: float  # probability that all of it is right
    familiarity: float  # probability of the two likeliest concepts: high for a heart, broken or not, low for a stranger

    @property
    def caption(self) -> str:
        """A caption such as `fox on a teal and white striped background`."""
        return caption(self.concept, self.kind, self.colours)


class Recogniser(nn.Module):
    """Three stages of residual blocks (He et al. 2016, arXiv 1603.05027) under three linear heads."""

    def __init__(self, labels: Labels, width: int = 24):
        super().__init__()
        self.labels = labels
        self.trunk = nn.Sequential(
            nn.Conv2d(3, width, 7, stride=4, padding=3),
            *(Block(width), nn.Conv2d(width, 2 * width, 2, stride=2)),
            *(Block(2 * width), Block(2 * width), nn.Conv2d(2 * width, 4 * width, 2, stride=2)),
            *(Block(4 * width), Block(4 * width), nn.GroupNorm(8, 4 * width), nn.GELU()),
        )
        self.concept = nn.Linear(8 * width, len(labels.concepts))
        self.kind = nn.Linear(8 * width, len(labels.kinds))
        self.colours = nn.Linear(8 * width, len(labels.colours))

    def forward(self, pictures: Tensor) -> Logits:
        """Pictures (B, 3, SIDE, SIDE) in [-1, 1]."""
        features = self.trunk(pictures)  # (B, 4 * width, SIDE / 16, SIDE / 16)
        seen = torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1)  # what is everywhere, and somewhere
        return Logits(self.concept(seen), self.kind(seen), self.colours(seen))

    def read(self, pictures: Tensor) -> list[Reading]:
        """One reading a picture, of pictures (B, 3, SIDE, SIDE) in [-1, 1]. Raises UsageError for another size."""
        if pictures.shape[1:] != (3, SIDE, SIDE):
            raise UsageError(f"a picture of shape {tuple(pictures.shape[1:])}: (3, {SIDE}, {SIDE}) is recognised")
        shares = (logits.float().softmax(1) for logits in self(pictures))
        return [self._reading(*rows) for rows in zip(*shares, strict=True)]

    def probability(self, concept: str, pictures: Tensor) -> Tensor:
        """Return the probability (B,) that pictures (B, 3, SIDE, SIDE) in [-1, 1] show a concept."""
        logits: Tensor = self(pictures).concept
        return logits.float().softmax(1)[:, self.labels.concepts.index(concept)]

    def _reading(self, concept: Tensor, kind: Tensor, colours: Tensor) -> Reading:
        """The likeliest words of these probabilities; two colours, the larger one first, unless it is plain."""
        which, behind = int(concept.argmax()), self.labels.kinds[int(kind.argmax())]
        taken = colours.topk(1 if behind == "plain" else 2)
        return Reading(
            self.labels.concepts[which],
            behind,
            tuple(self.labels.colours[index] for index in taken.indices.tolist()),
            float(concept[which] * kind.max() * taken.values.sum()),
            float(concept.topk(2).values.sum()),
        )


class Block(nn.Module):
    """A residual block of two convolutions; the size stays."""

    def __init__(self, width: int):
        super().__init__()
        self.branch = nn.Sequential(
            *(nn.GroupNorm(8, width), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)),
            *(nn.GroupNorm(8, width), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.branch(x)
        return out


def bundled() -> Recogniser:
    """The recogniser that ships. Raises MissingError where its file is lost."""
    path = Path(str(files("fastdiff.data") / WEIGHTS))
    if not path.exists():
        raise MissingError(f"the bundled weights {path} are missing: install the package again")
    return load(path)


def load(path: Path) -> Recogniser:
    """A recogniser from its file, ready to read. Raises UsageError for any other file."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise UsageError(f"{path} is not a weights file of at most {LARGEST // 2**20} MiB")
    try:
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
            words = json.loads(file.metadata()["labels"])
        labels = Labels(**{role: tuple(names) for role, names in words.items()})
        recogniser = Recogniser(labels, width=len(weights["trunk.0.weight"]))
        recogniser.load_state_dict(weights)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{path} is not the weights of a recogniser") from error
    return recogniser.eval().requires_grad_(False)


def save(recogniser: Recogniser, path: Path) -> None:
    """Writes weights in half precision and labels as one safetensors file."""
    weights = {name: value.half().contiguous() for name, value in recogniser.state_dict().items()}
    save_file(weights, path, {"labels": json.dumps(asdict(recogniser.labels))})
