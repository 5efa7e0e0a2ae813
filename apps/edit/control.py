"""What an edit tells attention to do: frozen rules for the rows of a batch, and the step that they are at.

A batch has the rows [source, target...], once or, where guidance is on, twice: first all without their prompts.
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
    """Prompt-to-Prompt (Hertz et al. 2022, arXiv 2208.01626): targets hear their words where the source heard its own.

    The attention of a target to a token is P_source M, until the token is let go, and its own from then on and where
    it has no counterpart, times its factor in all steps. It is not normalised again (section 3.2).
    """

    matrix: Tensor  # (T, L, L) alignment M of every target's prompt, see `words.align`
    scale: Tensor  # (T, 1, L) factor of every token of a target
    until: Tensor  # (T, 1, L) share of the steps after which a token is let go

    def at(self, step: int, steps: int) -> Callable[[Tensor], Tensor] | None:
        """What becomes of the attention of all rows to the tokens of their prompts, (1 + T, heads, N, L), in a step."""
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
    """Self-attention of the targets on what it is in the source, in some blocks and for a part of the steps.

    "qk" puts a target's content into the source's layout (Prompt-to-Prompt), "kv" looks the source's content up for a
    target's queries (MasaCtrl, Cao et al. 2023, arXiv 2304.08465), "qkv" copies the source's result. "qkv"
    and then "kv" is DiT4Edit's switch from a locked layout to mutual attention (Feng et al. 2024, arXiv 2411.03286, eq.
    11). Rows with a prompt share with the source's row that has one, those without with that which has none.
    """

    phases: tuple[tuple[Shared, Span], ...]  # of which the first that holds is done
    blocks: range

    def at(self, block: int, step: int, steps: int) -> Shared | None:
        if block not in self.blocks:
            return None
        return next((shared for shared, span in self.phases if span.holds(step, steps)), None)


@dataclass(frozen=True)
class TrackedWords:
    """Sets of words of which the attention is written down, in some blocks."""

    tokens: Tensor  # (sets, rows, L), 1 where a token of a row's prompt counts and 0 elsewhere
    blocks: range


@dataclass(frozen=True)
class Control:
    """The rules of a run, on the device of the transformer. Without any, attention is what it was, bit for bit."""

    rows: int  # the source's and the targets'
    steps: int
    cross_attention: CrossAttentionControl | None = None
    sharing: Sharing | None = None
    merging: Matching | None = None  # of the tokens in self-attention: one for all rows, blocks and steps
    tracked: TrackedWords | None = None


class Controller:
    """The rules at the step that a run is at. Whoever samples tells the step; nothing here counts calls."""

    def __init__(self, control: Control):
        self.control = control
        self.begin_step(0)

    def begin_step(self, step: int) -> None:
        """The step that is about to be taken. Step 0 begins a run: what was written down before is forgotten."""
        self.step = step
        if step == 0:
            self.maps: Tensor | None = None  # (sets, rows, N) attention to the tracked words, summed

    def shared(self, block: int) -> Shared | None:
        """What the targets take from the source in the self-attention of a block, now."""
        sharing = self.control.sharing
        return sharing.at(block, self.step, self.control.steps) if sharing else None

    def cross_attention(self) -> Callable[[Tensor], Tensor] | None:
        """What becomes of cross-attention, now."""
        cross_attention = self.control.cross_attention
        return cross_attention.at(self.step, self.control.steps) if cross_attention else None

    def tracks(self, block: int) -> bool:
        return self.control.tracked is not None and block in self.control.tracked.blocks

    def record(self, probabilities: Tensor) -> None:
        """Adds the attention of all rows to the tokens of their prompts, (rows, heads, N, L), to the maps."""
        assert self.control.tracked
        maps = torch.einsum("rhnl,srl->srn", probabilities.float(), self.control.tracked.tokens.float())
        self.maps = maps if self.maps is None else self.maps + maps

    def parted(self, x: Tensor) -> Tensor:
        """x (B, ...) as (halves, rows, ...): two halves where guidance is on.

        Raises UsageError where B is neither.
        """
        if len(x) not in (self.control.rows, 2 * self.control.rows):
            raise UsageError(f"a batch of {len(x)}: this control is of {self.control.rows} rows, once or twice")
        return x.unflatten(0, (-1, self.control.rows))
