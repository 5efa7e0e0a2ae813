"""Forecasts of features from their values at earlier steps of a run, row by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

import torch
from torch import Tensor

from fastdiff.models.acceleration.block_calls import Streams, minus, nbytes, plus, put_rows, take_rows
from fastdiff.solvers.rows import row_values


@dataclass(frozen=True, eq=False)
class Forecast:
    """A Taylor polynomial in the step number, its derivatives backward differences (Liu et al. 2025, arXiv 2503.06923).

    Order 0 repeats the last value.
    """

    steps: tuple[int, ...]  # of every row, its last computed one
    factors: tuple[Streams, ...]  # each of R rows: value, first difference per step, ...

    @property
    def rows(self) -> int:
        return len(self.steps)

    @property
    def nbytes(self) -> int:
        return sum(nbytes(factor) for factor in self.factors)

    def updated(self, step: int, rows: Sequence[int], value: Streams, order: int) -> "Forecast":
        """Return the forecast of at most this order with the value of these rows at a step."""
        new = [wide(value) if order else value]
        gaps = [step - self.steps[row] for row in rows]
        if all(gaps):
            for old in self.factors[:order]:
                new.append(_per_row(minus(new[-1], take_rows(old, rows)), [1 / gap for gap in gaps]))
        steps = list(self.steps)
        for row in rows:
            steps[row] = step
        if len(rows) < self.rows:
            new = [put_rows(old, rows, each) for old, each in zip(self.factors, new, strict=False)]
        return Forecast(tuple(steps), (*new, *self.factors[len(new) :]))

    def at(self, step: int, rows: Sequence[int]) -> Streams:
        """Return the forecast of these rows for a step."""
        offsets = [step - self.steps[row] for row in rows]
        total, *terms = [take_rows(factor, rows) for factor in self.factors]
        for order, term in enumerate(terms, 1):
            total = plus(total, _per_row(term, [offset**order / factorial(order) for offset in offsets]))
        return total


def first_forecast(step: int, value: Streams, rows: int, order: int) -> Forecast:
    """Return the forecast that knows one value."""
    return Forecast((step,) * rows, (wide(value) if order else value,))


def wide(streams: Streams) -> Streams:
    """Return streams in float32 at least: differences of half precision are noise."""
    return tuple(None if x is None else x.to(torch.promote_types(x.dtype, torch.float32)) for x in streams)


def _per_row(streams: Streams, values: Sequence[float]) -> Streams:
    def times(x: Tensor) -> Tensor:
        return x * row_values(torch.tensor(values, dtype=x.dtype, device=x.device), x)

    return tuple(None if x is None else times(x) for x in streams)
