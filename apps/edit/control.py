"""Rules by which an edit changes attention, and the current step of the run.

A batch has the rows [source, target...]; with guidance it has them twice, unconditional rows first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from fastdiff.apps.edit.span import Shared, Span
from fastdiff.apps.edit.token_merging import Matching
from fastdiff.solvers.errors import UsageError


@dataclass(frozen=True)
class CrossAttentionControl:
    """Cross-attention control of Prompt-to-Prompt (Hertz et al. 2022, arXiv 2208.01626).

    For aligned tokens, the target's attention map is replaced by P_source M until step `until`; afterwards, and for
    tokens without a counterpart, the target keeps its own map. Both are multiplied by `scale` at every step, without
    renormalisation (section 3.2).
    """

    matrix: Tensor  # (T, L, L) alignment M of every target's prompt, see `words.align`
    scale: Tensor  # (T, 1, L) factor of every token of a target
    until: Tensor  # (T, 1, L) share of the steps in which a token's map is replaced

    def at(self, step: int, steps: int) -> Callable[[Tensor], Tensor] | None:
        """Return the change to all rows' attention to their prompts, (1 + T, heads, N, L), at a step; None if none."""
        if step >= round(self._last * steps) and not self._emphasizes:
            return None
        return partial(self._controlled, self._aligned * ((self.until * steps).round() > step))

    def _controlled(self, held: Tensor, probabilities: Tensor) -> Tensor:
        source, targets = probabilities[:1], probabilities[1:]
        matrix, held, scale = (rule[:, None].to(targets) for rule in (self.matrix, held, self.scale))
        return torch.cat([source, (source @ (matrix * held) + targets * (1 - held)) * scale])

    @cached_property
    def _aligned(self) -> Tensor:
        """1 for the tokens of a target that have a counterpart, (T, 1, L)."""
        return (self.matrix.sum(dim=1, keepdim=True) != 0).to(self.matrix)

    @cached_property
    def _last(self) -> float:
        return float(self.until.max())

    @cached_property
    def _emphasizes(self) -> bool:
        return bool((self.scale != 1).any())


@dataclass(frozen=True)
class Sharing:
    """Sharing of the source's self-attention with the targets, in some blocks and for a part of the steps.

    "qk" takes the source's attention map for the target's values (Prompt-to-Prompt), "kv" the source's keys and values
    for the target's queries (MasaCtrl, Cao et al. 2023, arXiv 2304.08465), "qkv" the source's output. "qkv", then "kv",
    is DiT4Edit's switch from a locked layout to mutual attention (Feng et al. 2024, arXiv 2411.03286, eq. 11).
    Conditional rows share with the source's conditional row, unconditional rows with its unconditional one.
    """

    phases: tuple[tuple[Shared, Span], ...]  # the first span that holds applies
    blocks: range

    def at(self, block: int, step: int, steps: int) -> Shared | None:
        if block not in self.blocks:
            return None
        return next((shared for shared, span in self.phases if span.holds(step, steps)), None)


@dataclass(frozen=True)
class TrackedWords:
    """Sets of words whose attention maps are recorded, in some blocks."""

    tokens: Tensor  # (sets, rows, L), 1 where a token of a row's prompt counts and 0 elsewhere
    blocks: range


@dataclass(frozen=True)
class Control:
    """The rules of a run, on the device of the transformer. Without rules, attention is unchanged, bit for bit."""

    rows: int  # the source's and the targets'
    steps: int
    cross_attention: CrossAttentionControl | None = None
    sharing: Sharing | None = None
    merging: Matching | None = None  # of the tokens in self-attention: one for all rows, blocks and steps
    tracked: TrackedWords | None = None


class Controller:
    """The rules of a run at its current step, which the sampling loop sets by `begin_step`."""

    def __init__(self, control: Control):
        self.control = control
        self.begin_step(0)

    def begin_step(self, step: int) -> None:
        """Set the step about to be taken. Step 0 begins a run and clears the recorded maps."""
        self.step = step
        if step == 0:
            self.maps: Tensor | None = None  # (sets, rows, N) attention to the tracked words, summed

    def shared(self, block: int) -> Shared | None:
        """Return what the targets take from the source in a block's self-attention at this step."""
        sharing = self.control.sharing
        return sharing.at(block, self.step, self.control.steps) if sharing else None

    def cross_attention(self) -> Callable[[Tensor], Tensor] | None:
        """Return the change to cross-attention at this step; None if none."""
        cross_attention = self.control.cross_attention
        return cross_attention.at(self.step, self.control.steps) if cross_attention else None

    def tracks(self, block: int) -> bool:
        return self.control.tracked is not None and block in self.control.tracked.blocks

    def record(self, probabilities: Tensor) -> None:
        """Add the attention of all rows to the tokens of their prompts, (rows, heads, N, L), to the maps."""
        assert self.control.tracked
        maps = torch.einsum("rhnl,srl->srn", probabilities.float(), self.control.tracked.tokens.float())
        self.maps = maps if self.maps is None else self.maps + maps

    def parted(self, x: Tensor) -> Tensor:
        """Reshape x (B, ...) to (halves, rows, ...), with two halves under guidance.

        Raises UsageError unless B is `rows` or twice that.
        """
        if len(x) not in (self.control.rows, 2 * self.control.rows):
            raise UsageError(f"a batch of {len(x)}: this control is of {self.control.rows} rows, once or twice")
        return x.unflatten(0, (-1, self.control.rows))
