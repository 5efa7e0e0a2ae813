"""Rules by which an edit changes attention, and the attention maps that it records.

A batch has the rows [source, target...]; with guidance it has them twice, unconditional rows first.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from fastdiff.apps.edit.span import Shared, Span
from fastdiff.apps.edit.token_merging import Matching
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.readback import read_back


@dataclass(frozen=True)
class CrossAttentionControl:
    """Cross-attention control of Prompt-to-Prompt (Hertz et al. 2022, arXiv 2208.01626).

    For aligned tokens, the target's attention map is replaced by P_source M until step `until`; afterwards, and for
    tokens without a counterpart, the target keeps its own map. Both are multiplied by `scale` at every step, without
    renormalisation (section 3.2). In joint attention, the map is the part of it from the picture to the prompt.
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
        return float(read_back(self.until.max()))

    @cached_property
    def _emphasizes(self) -> bool:
        return bool(read_back((self.scale != 1).any()))


@dataclass(frozen=True)
class Sharing:
    """Sharing of the source's self-attention with the targets, in some layers and for a part of the steps.

    "qk" takes the source's attention map for the target's values (Prompt-to-Prompt), "kv" the source's keys and values
    for the target's queries (MasaCtrl, Cao et al. 2023, arXiv 2304.08465), "qkv" the source's output. "qkv", then "kv",
    is DiT4Edit's switch from a locked layout to mutual attention (Feng et al. 2024, arXiv 2411.03286, eq. 11).
    Conditional rows share with the source's conditional row, unconditional rows with its unconditional one. In joint
    attention, positions of the picture take these from the source; tokens of the prompt take nothing.
    """

    phases: tuple[tuple[Shared, Span], ...]  # the first span that holds applies
    layers: range  # of the network's layers that attend to the picture, in the order of execution

    def at(self, layer: int, step: int, steps: int) -> Shared | None:
        if layer not in self.layers:
            return None
        return next((shared for shared, span in self.phases if span.holds(step, steps)), None)


@dataclass(frozen=True)
class TrackedWords:
    """Sets of words whose attention maps are recorded, in those of some layers that attend from `positions` tokens."""

    tokens: Tensor  # (sets, rows, L), 1 where a token of a row's prompt counts and 0 elsewhere
    layers: Collection[int]  # of the network's layers that attend to the prompt, by index
    positions: int  # N of the maps: the layers of a U-Net differ in it


@dataclass(frozen=True)
class Control:
    """The rules of a run, on the device of the network. Without rules, attention is unchanged, bit for bit."""

    rows: int  # the source's and the targets'
    cross_attention: CrossAttentionControl | None = None
    sharing: Sharing | None = None
    merging: Matching | None = None  # of the tokens in self-attention: one for all rows, layers and steps
    tracked: TrackedWords | None = None
    prompt_tokens: int = 0  # L, which layers of joint attention need where they get one sequence

    def shared(self, layer: int, step: int, steps: int) -> Shared | None:
        """Return what the targets take from the source in a self-attention layer at a step."""
        return self.sharing.at(layer, step, steps) if self.sharing else None

    def cross_change(self, step: int, steps: int) -> Callable[[Tensor], Tensor] | None:
        """Return the change to cross-attention at a step; None if none."""
        return self.cross_attention.at(step, steps) if self.cross_attention else None

    def parted(self, x: Tensor) -> Tensor:
        """Reshape x (B, ...) to (halves, rows, ...), with two halves under guidance.

        Raises UsageError unless B is `rows` or twice that.
        """
        if len(x) not in (self.rows, 2 * self.rows):
            raise UsageError(f"a batch of {len(x)}: this control is of {self.rows} rows, once or twice")
        return x.reshape(-1, self.rows, *x.shape[1:])


class AttentionMaps:
    """Attention to the tracked words, summed over the layers and the network calls of a run so far."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.total: Tensor | None = None  # (sets, rows, N)

    def add(self, probabilities: Tensor, tracked: TrackedWords) -> None:
        """Add the attention of all rows to the tokens of their prompts, (rows, heads, N, L)."""
        maps = torch.einsum("rhnl,srl->srn", probabilities.float(), tracked.tokens.float())
        self.total = maps if self.total is None else self.total + maps
