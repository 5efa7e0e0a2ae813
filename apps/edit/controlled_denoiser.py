"""A denoiser that applies the rules of an edit to the attention of its network."""

from dataclasses import dataclass, field
from typing import Self

from fastdiff.apps.edit.control import AttentionMaps, Control
from fastdiff.apps.edit.joint_processor import JointProcessor
from fastdiff.apps.edit.processors import CrossProcessor, SelfProcessor
from fastdiff.models.hooks import AttentionLayer, HookedDenoiser, Processor
from fastdiff.solvers.grids import Grid, step_at
from fastdiff.solvers.schedule import Level


@dataclass(frozen=True, eq=False)
class ControlledDenoiser(HookedDenoiser):
    """Attention control, token merging and the recording of attention maps, at the step of the noise level.

    Blend regions and guidance masks read `maps`; `fresh` clears them, and copies made by `fresh` share them.
    """

    control: Control
    grid: Grid  # of the run
    maps: AttentionMaps = field(default_factory=AttentionMaps)

    @property
    def same_at_all_levels(self) -> bool:
        control = self.control
        return control.cross_attention is None and control.sharing is None and control.tracked is None

    @property
    def sequential(self) -> bool:
        return self.control.tracked is not None or self.inner.sequential

    def attention(self, layer: AttentionLayer, processor: Processor, level: Level) -> Processor:
        control, steps = self.control, len(self.grid) - 1
        step = step_at(self.grid, level)
        shared = None if layer.cross else control.shared(layer.index, step, steps)
        if not (layer.cross or layer.joint):
            return SelfProcessor(processor, control, shared) if shared or control.merging else processor
        change = control.cross_change(step, steps)
        tracked = control.tracked
        if tracked is not None and layer.index not in tracked.layers:
            tracked = None
        if shared is None and change is None and tracked is None:
            return processor
        if layer.joint:
            return JointProcessor(control, shared, change, tracked, self.maps)
        return CrossProcessor(processor, control, change, tracked, self.maps)

    def fresh(self) -> Self:
        self.maps.clear()
        return super().fresh()
