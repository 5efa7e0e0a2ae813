"""Rules that say at which calls of a run, and for which rows, the blocks of a network compute."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from fastdiff.models.acceleration.block_calls import BlockCall
from fastdiff.models.acceleration.modulation import modulated_input

TINY = 1e-12  # a magnitude that counts as zero

RuleState = tuple[Tensor, ...]  # what a rule remembers of a run, each of R rows


class Decision(NamedTuple):
    """Which rows should compute, and what the rule remembers of the rows that do and of the others."""

    computes: Tensor | Sequence[bool]  # (R,)
    computed: RuleState = ()
    reused: RuleState = ()


class Rule(Protocol):
    """Decides at the call of the first block that may be skipped, for every row by itself."""

    @property
    def head(self) -> int: ...  # number of first blocks that always compute, 0 or 1

    def decide(self, step: int, call: BlockCall, added: Tensor | None, state: RuleState | None) -> Decision:
        """Return the decision at a step. `added`: what the head adds to the hidden states (R, N, D).

        `state` is None at the first call of a run, which computes all rows whatever the rule says.
        """
        ...


@dataclass(frozen=True)
class FirstBlock:
    """First-block cache of ParaAttention (github.com/chengzeyi/ParaAttention).

    The first block always computes. A row computes the others where the relative change of what the first one adds,
    since the row's last computed step, exceeds `threshold`. A threshold of 0 reuses nothing that differs.
    """

    threshold: float

    head = 1

    def decide(self, step: int, call: BlockCall, added: Tensor | None, state: RuleState | None) -> Decision:
        assert added is not None
        reference = state[0] if state else added
        return Decision(relative_change(added, reference) > self.threshold, (added,), (reference,))


@dataclass(frozen=True)
class TeaCache:
    """TeaCache (Liu et al. 2024, arXiv 2411.19108).

    Accumulates the relative change of the first block's modulated input from step to step. A row computes once the
    total reaches `threshold`, so a threshold of 0 computes everything. `polynomial`, coefficients of rising powers,
    maps changes of the input to changes of the output.
    """

    threshold: float
    polynomial: tuple[float, ...] = (0.0, 1.0)

    head = 0

    def decide(self, step: int, call: BlockCall, added: Tensor | None, state: RuleState | None) -> Decision:
        modulated = modulated_input(call)
        before, total = state or (modulated, torch.zeros(call.rows, device=modulated.device))
        total = total + self.output_change(relative_change(modulated, before))
        return Decision(total >= self.threshold, (modulated, torch.zeros_like(total)), (modulated, total))

    def output_change(self, change: Tensor) -> Tensor:
        """Return the change (R,) of the output that a change of the input predicts, at least 0."""
        terms = [weight * change**power for power, weight in enumerate(self.polynomial)]
        return torch.stack(terms).sum(0).clamp(min=0)


@dataclass(frozen=True)
class FixedSteps:
    """Computes all rows at these steps of a run."""

    steps: frozenset[int]

    head = 0

    def decide(self, step: int, call: BlockCall, added: Tensor | None, state: RuleState | None) -> Decision:
        return Decision([step in self.steps] * call.rows)


def relative_change(new: Tensor, old: Tensor) -> Tensor:
    """Return the mean absolute change (R,) of features (R, ...) over the mean magnitude of the old ones, per row."""
    new, old = new.flatten(1), old.flatten(1)
    if torch.finfo(new.dtype).bits < 32:
        new, old = new.float(), old.float()
    return (new - old).abs().mean(1) / (old.abs().mean(1) + TINY)
