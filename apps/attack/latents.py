"""Perturbations in the latents of a diffusion model: pictures are inverted once, perturbed, and sampled.

The residual, which the model cannot represent, is added to the result: a perturbation of 0 returns the same pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fastdiff.apps.attack.attention import AttentionLosses, AttentionRecorder, caption_tokens
from fastdiff.apps.attack.gradient import Checkpointed, Pullback, backprop, identity, random_free
from fastdiff.apps.attack.presets import Preset
from fastdiff.apps.attack.resampling import Resampling
from fastdiff.apps.attack.space import eight_bits
from fastdiff.apps.canvas import Canvas
from fastdiff.apps.precision import check_finite
from fastdiff.inversion.edit_friendly import EditFriendly
from fastdiff.inversion.inversion import Inverter, invert
from fastdiff.inversion.registry import INVERTERS
from fastdiff.models.diffusion_model import Conditioning, DiffusionModel
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.solvers.denoiser import CountingDenoiser, Denoiser, Tally
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid, time_part
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.readback import read_back
from fastdiff.solvers.schedule import Schedule

PROBE = 8  # latents a side


@dataclass(frozen=True, eq=False)
class Latents:
    """The `Space` of B pictures on one canvas."""

    prior: DiffusionModel
    preset: Preset
    prompts: Conditioning
    canvas: Canvas
    noise: Noise  # of the B pictures
    sample: Resampling
    weights: Tensor  # (C, 1, 1) how far each channel moves for a perturbation of 1
    reconstruction: Tensor  # (B, 3, h, w) of the pictures on the canvas, without a perturbation
    tally: Tally
    attention_losses: AttentionLosses | None = None

    @property
    def unperturbed(self) -> Tensor:
        return self.sample.unperturbed

    @property
    def pictures(self) -> Tensor:
        return (self.canvas.original + 1) / 2

    @property
    def calls(self) -> int:
        return self.tally.nfe

    def take(self, rows: Tensor) -> "Latents":
        if len(rows) == len(self.reconstruction):
            return self
        chosen = read_back(rows)
        prompts = self.prompts.take(chosen)
        assert self.noise.items is not None
        return replace(
            self,
            prompts=prompts,
            canvas=replace(self.canvas, original=self.canvas.original[rows]),
            noise=replace(self.noise, items=tuple(self.noise.items[row] for row in chosen)),
            sample=self.sample.take(_denoiser(self.prior, prompts, self.preset, self.canvas, self.tally), rows),
            reconstruction=self.reconstruction[rows],
            attention_losses=self.attention_losses and self.attention_losses.take(rows),
        )

    def add(self, delta: Tensor, change: Tensor) -> Tensor:
        return delta + change

    def sampled(self, delta: Tensor) -> tuple[Tensor, Pullback]:
        latents, pull = self._sampled(self.weights * delta)
        _check(latents, self.prior)
        return latents, lambda gradient: self.weights * pull(gradient)

    def _sampled(self, delta: Tensor) -> tuple[Tensor, Pullback]:
        match self.preset.gradient:
            case "identity":
                return identity(self.sample, delta)
            case "rgf":
                return random_free(self.sample, delta, self.preset.queries, self.noise)
            case "backprop":
                return backprop(self.sample, delta, penalty=self.attention_losses)
            case _:
                return backprop(self.sample, delta, self.preset.last, self.attention_losses)

    def decode(self, made: Tensor) -> Tensor:
        change = self.canvas.to_picture(self.prior.decode(made) - self.reconstruction)
        return eight_bits((self.canvas.original + change + 1) / 2)

    def quantized(self, pictures: Tensor) -> Tensor:
        return pictures


def prepare(
    prior: DiffusionModel,
    preset: Preset,
    canvas: Canvas,
    captions: Sequence[str],
    noise: Noise,
    recorder: AttentionRecorder | None = None,
) -> tuple[Latents, Tensor]:
    """Invert the pictures of the canvas (B, 3, H, W) under their captions; a recorder enables the attention losses.

    Also returns the round-trip error (B,), the largest difference of a latent. Raises UsageError if these losses find
    no attention in the network, NotFiniteError if the network overflows.
    """
    prompts, tally = prior.encode_prompts(captions), Tally()
    clean = prior.encode(canvas.picture)
    f = _denoiser(prior, prompts, preset, canvas, tally)
    levels = grid(prior.scheduler(canvas.scaled).schedule, preset)
    inversion = invert(f, clean, levels, _inverter(preset, noise), measure=False)
    sample = Resampling(f, inversion, preset.perturb == "maps")
    attention_losses = None
    if recorder is None:
        returned = sample(sample.unperturbed)
    else:
        with recorder.recording(len(clean)):
            returned = sample(sample.unperturbed)
        recorded, words = recorder.recorded(), caption_tokens(prompts)
        if not (recorded.cross and recorded.own):
            raise UsageError(
                f"{prior.name} has no attention at a quarter of its latents' sides, which the losses of this method "
                "are on: give --method natural, or a Stable Diffusion 1, 2 or XL prior"
            )
        attention_losses = AttentionLosses(recorder, recorded, words, preset.distraction, preset.structure)
    _check(returned, prior)
    weights = channel_weights(prior, clean.shape[1], preset.channel_balance).to(clean)
    space = Latents(
        prior, preset, prompts, canvas, noise, sample, weights, prior.decode(returned), tally, attention_losses
    )
    return space, (returned - clean).abs().flatten(1).amax(1)


def grid(schedule: Schedule, preset: Preset) -> Grid:
    """Return the levels from the first perturbed one (or the first perturbed map's) to the cleanest."""
    if preset.landing:
        stride = (schedule.start - schedule.end) / 999
        top = schedule.end + preset.strength * (schedule.start - schedule.end)
        times = torch.linspace(top, schedule.end + stride, preset.steps, dtype=torch.float64).tolist()
        levels: Grid = (*map(schedule.level, times), schedule.level(schedule.end))
    else:
        levels = time_part(schedule, preset.strength, preset.steps)
    return levels[round(preset.enter * preset.steps) :] if preset.perturb == "x_k" else levels


def channel_weights(prior: DiffusionModel, channels: int, channel_balance: float) -> Tensor:
    """Weights (C, 1, 1) of channels, in proportion to their effect on pixels ^ -channel_balance.

    Their mean square is 1. The effect is that of a latent of 1 amid others of 0.
    """
    if not channel_balance:
        return torch.ones(channels, 1, 1)
    probes = torch.zeros(channels + 1, channels, PROBE, PROBE)
    probes[torch.arange(channels), torch.arange(channels), PROBE // 2, PROBE // 2] = 1
    *moved, still = prior.decode(probes)
    effects = torch.stack([(each - still).norm() for each in moved]).clamp(min=1e-6)
    weights = effects.cpu() ** -channel_balance
    return (weights / weights.square().mean().sqrt())[:, None, None]


def _check(latents: Tensor, prior: DiffusionModel) -> None:
    """Raise NotFiniteError unless all latents are finite."""
    check_finite(latents, "the diffusion prior", next(prior.network.parameters()).dtype)


def _denoiser(prior: DiffusionModel, prompts: Conditioning, preset: Preset, canvas: Canvas, tally: Tally) -> Denoiser:
    return Checkpointed(CountingDenoiser(guided_denoiser(prior, prompts, preset.guidance, canvas.scaled), tally))


def _inverter(preset: Preset, noise: Noise) -> Inverter:
    inverter = INVERTERS[preset.inversion]()
    return replace(inverter, noise=noise) if isinstance(inverter, EditFriendly) else inverter
