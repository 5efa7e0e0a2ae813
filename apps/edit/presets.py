"""Editing presets by name: inversion, guidance and attention control. Imports no torch."""

from dataclasses import dataclass, replace
from typing import Literal

from fastdiff.apps.edit.span import Shared, Span

Distillation = Literal["lcm", "speedup"]  # by a LCM-LoRA, by a SpeedUpNet


@dataclass(frozen=True)
class Preset:
    """The settings of an edit. Spans are fractions of the steps, `first_block` of the self-attention layers."""

    inversion: str  # a name of `fastdiff.inversion.registry.INVERTERS`
    steps: int
    guidance: float  # of the edit
    guidance_rescale: float = 0.0  # share in [0, 1] by which the deviation of guided estimates returns to the unguided
    guidance_interval: tuple[float, float] | None = None  # times in [0, 1], 1 is noise, with guidance; None is all
    source_guidance: float = 1.0  # of the inversion and of the source beside the edit
    strength: float = 1.0  # the time at which the inversion ends, as a fraction of the schedule's
    contrast: bool = False  # whether the source prompt is the negative prompt, in place of the empty one
    pinned: bool = True  # whether the source is reset to its inversion path after every step (direct inversion)
    cross_attention: float = 0.0  # share of the steps that take the source's cross-attention maps
    self_attention: tuple[tuple[Shared, Span], ...] = ()  # what self-attention takes from the source, in which steps
    first_block: float = 0.0  # the first block whose self-attention does
    focus: float = 0.0  # share of the latents without guidance, away from the changed words (LEDITS++)
    merge: float = 0.0  # share of the tokens that self-attention merges
    attempts: int = 1  # at most, each escalated, until the recogniser sees the requested concept
    repaint_guidance: float | None = None  # of another background, from noise around a kept subject; None edits it
    distilled: Distillation | None = None  # how the model is distilled to few steps
    solver: str | None = None  # a name of `fastdiff.solvers.registry.SOLVERS`, in place of `inversion`


DIT4EDIT = Preset(  # the guidance is not in the paper, nor are switch and blocks: the best of benchmarks, "sweep"
    "backward-euler",
    steps=30,
    guidance=4.5,
    cross_attention=0.8,
    self_attention=(("qkv", Span(0, 0.2)), ("kv", Span(0.2, 1))),
    first_block=0.7,
    merge=0.2,
)
LEDITS = Preset("ledits", steps=20, guidance=4.0, strength=0.85, contrast=True)
PRESETS = {
    "dit4edit": DIT4EDIT,
    "dit4edit-exact": replace(DIT4EDIT, inversion="o-belm", merge=0.0),
    "edit-friendly": Preset(
        "edit-friendly",
        steps=30,
        guidance=6.0,
        strength=0.8,
        contrast=True,
        cross_attention=0.6,
        self_attention=(("qk", Span(0, 0.2)),),
    ),
    "ledits": LEDITS,
    "quick": replace(LEDITS, steps=8, guidance=1.25, strength=1.0, attempts=5, repaint_guidance=3.0),
    "lcm": Preset("lcm", steps=4, guidance=1.0, attempts=5, repaint_guidance=1.0, distilled="lcm"),
    "speedup": Preset("ledits", steps=4, guidance=1.0, attempts=5, repaint_guidance=1.0, distilled="speedup"),
    "direct-p2p": Preset("ddim", steps=50, guidance=7.5, cross_attention=0.4, self_attention=(("qk", Span(0, 0.6)),)),
    "masactrl": Preset("ddim", steps=50, guidance=7.5, self_attention=(("kv", Span(0.2, 1)),), first_block=0.5),
    "rf-inversion": Preset("rf-inversion", steps=28, guidance=3.5, source_guidance=0.0),
}
PREVIEW = 4  # steps, evenly drawn from those of the preset, at most


def steps_of(preset: Preset, *, preview: bool) -> int:
    """Return the number of steps of a run; a preview takes at most PREVIEW steps, and at most half of them."""
    return min(PREVIEW, -(-preset.steps // 2)) if preview else preset.steps


def escalate(preset: Preset, number: int) -> Preset:
    """Return the preset for retry `number` (0 = first).

    Guidance grows with each retry and strength rises to 1, so that less of the source survives in the noise maps.
    """
    share = number / max(preset.attempts - 1, 1)
    strength = preset.strength + share * (1 - preset.strength)
    return replace(preset, guidance=preset.guidance * (1 + number / 2), strength=strength)
