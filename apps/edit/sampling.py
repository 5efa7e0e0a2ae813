"""An edit in a model's latents: inversion under the source prompt, then source and edit side by side, under control."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from torch import Tensor

from fastdiff.apps.edit import words
from fastdiff.apps.edit.blend import Blended, HeardRegion, watched
from fastdiff.apps.edit.control import Control, Controller, Rewording, Sharing
from fastdiff.apps.edit.merging import Matching, destinations, match
from fastdiff.apps.edit.presets import Preset
from fastdiff.apps.edit.processors import controlled
from fastdiff.apps.edit.span import Span
from fastdiff.inversion.backward_euler import BackwardEuler
from fastdiff.inversion.edit_friendly import EditFriendly
from fastdiff.inversion.invert import Inversion, Inverter, invert, regenerate
from fastdiff.inversion.offsets import pinned
from fastdiff.inversion.registry import INVERTERS
from fastdiff.inversion.reversed import Reversed
from fastdiff.models.backbone import Backbone, Prompts
from fastdiff.solvers.denoiser import Counted, Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grid import Grid, time_part
from fastdiff.solvers.integrate import Progress, integrate
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.registry import SOLVERS

BLEND_FROM = 0.2  # share of the steps after which it is known well enough where the blended words are
TOLERANCE = 1e-3  # of the equations that an inversion solves, relative to the state


@dataclass(frozen=True)
class Sampled:
    """What came of an edit."""

    latents: Tensor  # (1, C, h, w), of the edit
    calls: int  # of the network in sampling


@dataclass(frozen=True)
class Edit:
    """An edit of one picture with latents (1, C, h, w) of `size` pixels (height, width).

    `source` and `target` are prompts of one row. `blend` names words of either, `mask` (1, 1, h, w) in [0, 1] is 1
    where something may change, `emphasize` holds requests such as "stripes:1.5" for words of the target. Word control
    is off without a source prompt.
    """

    backbone: Backbone
    preset: Preset
    latents: Tensor
    size: tuple[int, int]
    source: Prompts
    target: Prompts
    seed: int
    blend: tuple[str, ...] = ()
    mask: Tensor | None = None
    emphasize: tuple[str, ...] = ()

    @cached_property
    def grid(self) -> Grid:
        """The preset's number of steps, equal in time, from its strength down to the cleanest trained level."""
        return time_part(self.backbone.trained.schedule, self.preset.strength, self.preset.steps)

    def invert(self) -> Inversion:
        """The path of the source, not yet pinned."""
        with self._alone() as f:
            return invert(f, self.latents, self.grid, _inverter(self.preset, self.seed), measure=False)

    def regenerate(self, inversion: Inversion) -> Tensor:
        """The latents (1, C, h, w) that the inversion gives back, without pins."""
        with self._alone() as f:
            return regenerate(f, inversion)

    @contextmanager
    def _alone(self) -> Iterator[Denoiser]:
        """The denoiser of the source by itself, with the merging that the edit will have."""
        control = Control(1, self.preset.steps, merging=self._merging)
        with controlled(self._transformer, Controller(control)):
            yield self.backbone.denoiser(self.source, self.preset.source_guidance, self.size)

    def sample(self, inversion: Inversion, watch: Callable[[Progress], None]) -> Sampled:
        """The edit from the source's path. Raises UsageError for words that no prompt has."""
        controller = Controller(self._control)
        solver = (pinned(inversion) if self.preset.pinned else inversion).solver
        region = self._region(controller)
        if region is not None:
            solver = Blended(solver, region, self.grid[round(BLEND_FROM * self.preset.steps)])
        scales = (self.preset.source_guidance, self.preset.guidance)
        against = self.source if self.preset.contrast else None
        f = Counted(self.backbone.denoiser(_both(self.source, self.target), scales, self.size, against))

        def told(now: Progress) -> None:
            controller.begin_step(now.index + 1)
            watch(now)

        with controlled(self._transformer, controller):
            x = integrate(f, solver, inversion.x.repeat(2, 1, 1, 1), self.grid, watch=told).x
        return Sampled(x[1:], f.tally.calls)

    @property
    def _transformer(self) -> PixArtTransformer2DModel:
        transformer = self.backbone.network
        if not isinstance(transformer, PixArtTransformer2DModel):
            raise UsageError(f"attention in a {type(transformer).__name__} is not controlled: only PixArt's is")
        return transformer

    @property
    def _control(self) -> Control:
        depth = len(self._transformer.transformer_blocks)
        length = self.source.mask.shape[1]
        blocks = range(round(self.preset.first_block * depth), depth)
        prompts = self.source.words[0], self.target.words[0]
        return Control(
            rows=2,
            steps=self.preset.steps,
            rewording=self._rewording(length),
            sharing=Sharing(self.preset.own, blocks) if self.preset.own else None,
            merging=self._merging,
            watched=watched(prompts, self.blend, length, depth) if self.blend else None,
        )

    def _rewording(self, length: int) -> Rewording | None:
        told = bool(self.source.words[0])
        if not self.emphasize and not (self.preset.cross and told):
            return None
        scale = words.emphasis(self.target.words[0], self.emphasize, length)
        ours, theirs = (words.Sentence(each.ids[0], each.words[0]) for each in (self.source, self.target))
        matrix = words.align(ours, theirs, length) if told else torch.zeros(length, length)
        span, device = Span(0, self.preset.cross if told else 1), self.latents.device
        return Rewording(matrix[None].to(device), scale[None, None].to(device), span)

    @cached_property
    def _merging(self) -> Matching | None:
        if not self.preset.merge:
            return None
        tokens = self._transformer.pos_embed(self.latents.to(self._transformer.dtype))[0]
        return match(tokens, destinations(*self.backbone.token_grid(self.latents), self.seed), self.preset.merge)

    def _region(self, controller: Controller) -> Callable[[], Tensor] | None:
        mask = self.mask
        if mask is not None:
            return lambda: mask
        if not self.blend:
            return None
        size = self.latents.shape[-2], self.latents.shape[-1]
        return HeardRegion(controller, self.backbone.token_grid(self.latents), size)


def _inverter(preset: Preset, seed: int) -> Inverter:
    if preset.solver is not None:
        solver = SOLVERS[preset.solver]()
        if isinstance(solver, Multistep) and solver.stochastic:
            return EditFriendly(solver, Noise(seed))
        return Reversed(solver)
    inverter = INVERTERS[preset.inversion]()
    if isinstance(inverter, EditFriendly):
        return replace(inverter, noise=Noise(seed))
    if isinstance(inverter, BackwardEuler):
        return replace(inverter, search=replace(inverter.search, tolerance=TOLERANCE))
    return inverter


def _both(source: Prompts, target: Prompts) -> Prompts:
    """The prompts of two rows."""
    return Prompts(
        torch.cat([source.embeddings, target.embeddings]),
        torch.cat([source.mask, target.mask]),
        source.ids + target.ids,
        source.words + target.words,
        source.cut + target.cut,
    )
