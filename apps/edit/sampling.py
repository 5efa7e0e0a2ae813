"""An edit in latents: inversion under the source prompt, then sampling under the target prompt, beside the source."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fastdiff.apps.edit import words
from fastdiff.apps.edit.acceleration import Acceleration, Unaccelerated
from fastdiff.apps.edit.blend import AttendedRegion, Blended
from fastdiff.apps.edit.control import AttentionMaps, Control, CrossAttentionControl, Sharing, TrackedWords
from fastdiff.apps.edit.controlled_denoiser import ControlledDenoiser
from fastdiff.apps.edit.guidance_mask import WordsAndGuidanceMask
from fastdiff.apps.edit.levels import levels
from fastdiff.apps.edit.presets import Preset, steps_of
from fastdiff.apps.edit.repainting import SubjectKeepingDenoiser
from fastdiff.apps.edit.subject import Subject
from fastdiff.apps.edit.token_merging import Matching, destinations, match
from fastdiff.apps.edit.tuned import TunedSampler
from fastdiff.inversion.backward_euler import BackwardEuler
from fastdiff.inversion.direct_inversion import apply_direct_inversion
from fastdiff.inversion.edit_friendly import EditFriendly
from fastdiff.inversion.inversion import Inversion, Inverter, invert, regenerate
from fastdiff.inversion.registry import INVERTERS
from fastdiff.inversion.reversed import Reversed
from fastdiff.inversion.rf_inversion import RFInversion
from fastdiff.models.diffusion_model import Conditioning, EditableModel
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.hooks import attention_layers
from fastdiff.models.speedup.adapter import SpeedUpNet
from fastdiff.models.speedup.denoiser import speedup_denoiser
from fastdiff.solvers.denoiser import CountingDenoiser, Denoiser, Tally
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Progress, Solver, integrate, is_recordable
from fastdiff.solvers.noise import Noise, NoiseSource, StridedNoise
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.uneven_grids import warning_of

BLEND_FROM = 0.2  # share of the steps after which it is known well enough where the blended words are
TOLERANCE = 1e-3  # of the equations that an inversion solves, relative to the state


@dataclass(frozen=True)
class Sampled:
    """The result of an edit."""

    latents: Tensor  # (1, C, h, w), of the edit
    source: Tensor | None  # (1, C, h, w), of the source that was sampled beside it
    calls: int  # of the network in sampling
    equivalent_calls: float  # calls without acceleration that cost as much


@dataclass(frozen=True)
class AcceleratedInversion(Inversion):
    """An inversion with its cost: the calls without acceleration that cost as much."""

    equivalent_calls: float = field(kw_only=True)


@dataclass(frozen=True)
class Edit:
    """An edit of one picture with latents (1, C, h, w) of `size` pixels (height, width).

    `source` and `target` are prompts of one row, and so is `negative`, from which guidance leads away instead of from
    the source prompt or the empty one. `blend` names words of either prompt. `mask` (1, 1, h, w) in [0, 1] is
    1 where the edit may change the picture. `emphasize` holds requests such as "stripes:1.5" for words of the target,
    `release` such as "stripes:0.4". Without a source prompt there is no cross-attention control. A preview visits a
    subset of the run's levels, with the same noise there. `tuned` is the solver of a file with its own levels; it
    replaces the preset's inversion and sampling. `acceleration` applies to sampling and to inversion by a solver, but
    not to repainting. `speedup` takes the place of all guidance.
    """

    backbone: EditableModel
    preset: Preset
    latents: Tensor
    size: tuple[int, int]
    source: Conditioning
    target: Conditioning
    seed: int
    negative: Conditioning | None = None
    blend: tuple[str, ...] = ()
    mask: Tensor | None = None
    emphasize: tuple[str, ...] = ()
    release: tuple[str, ...] = ()
    preview: bool = False
    tuned: TunedSampler | None = None
    acceleration: Acceleration = field(default_factory=Unaccelerated)
    speedup: SpeedUpNet | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for options of guidance if the network has no unconditional estimate."""
        preset = self.preset
        changes = (
            self.negative is not None,
            preset.guidance_interval is not None,
            preset.guidance_rescale > 0,
            preset.focus > 0,
        )
        if any(changes) and self.backbone.guidance_kind != "classifier-free":
            raise UsageError(
                f"{self.backbone.name} has no unconditional estimate: leave out --negative, --guidance-rescale, "
                "--guidance-interval and --focus"
            )

    @cached_property
    def grid(self) -> Grid:
        """The levels of the preset that this run visits."""
        if self.tuned is not None:
            return self.tuned.grid
        whole = levels(self.preset, self.backbone.scheduler(self.size).schedule)
        return tuple(whole[i] for i in self._visited)

    @property
    def steps(self) -> int:
        return len(self.grid) - 1

    def invert(self, watch: Callable[[int], None] = lambda calls: None) -> Inversion:
        """Invert the source, without direct inversion. `watch` receives the number of every network call.

        An acceleration that inverts does so where a solver inverts; it does not call `watch`.
        """
        inverter = self._inverter
        if isinstance(inverter, Reversed) and self.acceleration.inverts:
            return self._accelerated_inversion(inverter.solver)
        f = CountingDenoiser(self._alone, Tally(watch=watch))
        inversion = invert(f, self.latents, self.grid, inverter, measure=False)
        return inversion if self.tuned is None else replace(inversion, solver=self.tuned.solver)

    def _accelerated_inversion(self, solver: Solver[Any]) -> AcceleratedInversion:
        states = [self.latents]
        run = self.acceleration.run(
            self._alone, solver, self.latents, self.grid[::-1], lambda now: states.append(now.x)
        )
        return AcceleratedInversion(
            solver, self.grid, torch.stack(states[::-1]), run.calls, equivalent_calls=run.equivalent_calls
        )

    @property
    def warning(self) -> str | None:
        """A sentence that names a better solver, where the steps of inversion or sampling harm this one."""
        if not isinstance(self._inverter, Reversed):
            return None
        solver = self._inverter.solver
        return warning_of(solver, self.grid[::-1]) or warning_of(solver, self.grid)

    @property
    def _inverter(self) -> Inverter:
        noise = StridedNoise(Noise(self.seed), self._visited)
        return inverter_of(self.preset, noise) if self.tuned is None else Reversed(self.tuned.inverting)

    def regenerate(self, inversion: Inversion) -> Tensor:
        """Reconstruct the latents (1, C, h, w) from the inversion, without direct inversion."""
        return regenerate(self._alone, inversion)

    @property
    def _alone(self) -> ControlledDenoiser:
        """The denoiser of the source alone, with the edit's token merging; at guidance 0 of the empty prompt.

        Networks that embed their guidance would follow the prompt at 0 too.
        """
        guidance = self.preset.source_guidance
        prompt = self.source if guidance else self.backbone.empty_prompt
        f = self._denoiser_of(prompt, guidance)
        return ControlledDenoiser(f, self.backbone.network, Control(1, merging=self._merging), self.grid)

    def sample(self, inversion: Inversion, watch: Callable[[Progress], None]) -> Sampled:
        """Sample the edit from the inversion. Raises UsageError for words that no prompt has."""
        control, maps = self._control, AttentionMaps()
        beside = control.rows > 1
        guided = self._denoiser(beside, self._focus(maps))
        f = ControlledDenoiser(guided, self.backbone.network, control, self.grid, maps)
        solver = self._solver(inversion, maps) if beside else inversion.solver
        run = self.acceleration.run(f, solver, inversion.x.repeat(control.rows, 1, 1, 1), self.grid, watch)
        return Sampled(run.x[-1:], run.x[:1] if beside else None, run.calls, run.equivalent_calls)

    def repaint(self, subject: Subject, watch: Callable[[Progress], None]) -> Sampled:
        """Sample the target from noise, around a subject on the canvas that is kept."""
        preset, noise = self.preset, StridedNoise(Noise(self.seed), self._visited)
        inverter = inverter_of(preset, noise)
        assert preset.repaint_guidance is not None and isinstance(inverter, EditFriendly)
        guided = self._denoiser_of(
            self.target,
            preset.repaint_guidance,
            negative_prompt=self.negative,
            rescale=preset.guidance_rescale,
            interval=preset.guidance_interval,
        )
        f = CountingDenoiser(SubjectKeepingDenoiser(guided, self.backbone, subject.to(self.latents.device)))
        x = self.grid[0].sigma * noise(self.latents)
        x = integrate(f, inverter.solver.with_noise(noise), x, self.grid, watch=watch).x
        return Sampled(x, None, f.tally.nfe, f.tally.nfe)

    def _denoiser(self, beside: bool, mask: WordsAndGuidanceMask | None) -> Denoiser:
        """Return the denoiser of the edit alone, or of source and edit."""
        preset = self.preset
        return self._denoiser_of(
            Conditioning.cat(self.source, self.target) if beside else self.target,
            (preset.source_guidance, preset.guidance) if beside else preset.guidance,
            negative_prompt=self.negative or (self.source if preset.contrast else None),
            guidance_mask=mask,
            rescale=preset.guidance_rescale,
            interval=preset.guidance_interval,
        )

    def _denoiser_of(self, prompts: Conditioning, scale: float | Sequence[float], **rules: Any) -> Denoiser:
        """Return the denoiser of prompts, guided by `rules` of `guided_denoiser` or by the SpeedUpNet.

        A SpeedUpNet leads the source, too, away from the negative prompt: the edit is what the prompts differ by.
        """
        if self.speedup is None:
            return guided_denoiser(self.backbone, prompts, scale, self.size, **rules)
        return speedup_denoiser(self.backbone, self.speedup, prompts, self.size, negative_prompt=self.negative)

    def _solver(self, inversion: Inversion, maps: AttentionMaps) -> Solver[Any]:
        """Return the inversion's solver, wrapped for direct inversion of the source and for blending if needed."""
        solver = (apply_direct_inversion(inversion) if self.preset.pinned else inversion).solver
        region = self._region(maps)
        return solver if region is None else Blended(solver, region, self.grid[round(BLEND_FROM * self.steps)])

    @property
    def _control(self) -> Control:
        """The attention rules. The source runs beside the edit if any rule or mask needs it."""
        layers = attention_layers(self.backbone.network)
        self_layers = sum(not layer.cross for layer in layers)
        prompted = [layer.index for layer in layers if layer.cross or layer.joint]
        shared = range(round(self.preset.first_block * self_layers), self_layers)
        middle = prompted[len(prompted) // 3 : 2 * len(prompted) // 3 + 1]
        cross_attention, tracked = self._cross_attention, self._tracked(middle)
        sharing = Sharing(self.preset.self_attention, shared) if self.preset.self_attention else None
        beside = self.mask is not None or any(rule is not None for rule in (cross_attention, sharing, tracked))
        return Control(2 if beside else 1, cross_attention, sharing, self._merging, tracked, self._length)

    @property
    def _cross_attention(self) -> CrossAttentionControl | None:
        has_source, target = bool(self.source.words[0]), self.target.words[0]
        if not self.emphasize and not (has_source and (self.preset.cross_attention or self.release)):
            return None
        scale = words.by_word(target, self.emphasize, self._length, 1.0)
        until = words.by_word(target, self.release, self._length, self.preset.cross_attention)
        matrix = words.alignment(self.source, self.target) if has_source else torch.zeros(self._length, self._length)
        matrix, scale, until = (rule.to(self.latents.device) for rule in (matrix, scale, until))
        return CrossAttentionControl(matrix[None], scale[None, None], until[None, None])

    def _tracked(self, layers: Sequence[int]) -> TrackedWords | None:
        """Return the words for blending, and the changed words for the guidance mask."""
        sets = []
        if self.blend:
            sets.append(words.named([self.source.words[0], self.target.words[0]], self.blend, self._length))
        if self.preset.focus:
            sets.append(words.changed_words(self.source, self.target))
        if not sets:
            return None
        rows, columns = self._map_grid
        return TrackedWords(torch.stack(sets).to(self.latents.device), layers, rows * columns)

    def _focus(self, maps: AttentionMaps) -> WordsAndGuidanceMask | None:
        if not self.preset.focus:
            return None
        return WordsAndGuidanceMask(maps, -1, self._map_grid, self.preset.focus)

    def _region(self, maps: AttentionMaps) -> Callable[[], Tensor] | None:
        mask = self.mask
        if mask is not None:
            return lambda: mask
        if not self.blend:
            return None
        return AttendedRegion(maps, 0, self._map_grid, (self.latents.shape[-2], self.latents.shape[-1]))

    @cached_property
    def _merging(self) -> Matching | None:
        if not self.preset.merge:
            return None
        tokens = self.backbone.embed(self.latents)[0]
        return match(tokens, destinations(*self._map_grid, self.seed), self.preset.merge)

    @cached_property
    def _visited(self) -> tuple[int, ...]:
        """The indices of the preset's levels that this run visits."""
        whole, steps = self.preset.steps, steps_of(self.preset, preview=self.preview)
        return tuple(round(i * whole / steps) for i in range(steps + 1))

    @property
    def _length(self) -> int:
        return self.source.mask.shape[1]

    @property
    def _map_grid(self) -> tuple[int, int]:
        return self.backbone.map_grid(self.latents)


def inverter_of(preset: Preset, noise: NoiseSource) -> Inverter:
    """Return the inverter of a preset, with this noise if it takes any.

    Raises UsageError for a solver that cannot invert.
    """
    if preset.solver is not None:
        solver = SOLVERS[preset.solver]()
        if is_recordable(solver):
            return EditFriendly(solver, noise)
        return Reversed(solver)
    inverter = INVERTERS[preset.inversion]()
    if isinstance(inverter, EditFriendly | RFInversion):
        return replace(inverter, noise=noise)
    if isinstance(inverter, BackwardEuler):
        return replace(inverter, search=replace(inverter.search, tolerance=TOLERANCE))
    return inverter
