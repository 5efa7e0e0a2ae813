"""When an edit is controlled, and what of the source it takes; light to import."""

from dataclasses import dataclass
from typing import Literal

Shared = Literal["qk", "kv", "qkv"]


@dataclass(frozen=True)
class Span:
    """A part of a run in fractions of its steps: from `start` on, before `end`."""

    start: float
    end: float

    def holds(self, step: int, steps: int) -> bool:
        return round(self.start * steps) <= step < round(self.end * steps)
