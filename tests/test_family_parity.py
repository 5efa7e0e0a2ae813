"""Estimates, samples and pictures of text-to-image families are those of the real pipelines, on folders they saved."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny_pixart
import tiny_unet
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from torch import Tensor

from fastdiff.models.diffusion_model import Conditioning, DiffusionModel
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.registry import load_model
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import DiscreteVP

PROMPTS, NEGATIVE = ["A fox, on grass", "two cats and a striped dog"], "a dog"
STEPS, SEEN = 20, 10  # steps of a run, and its timesteps at which estimates are compared
OF_PIXART = {"clean_caption": False, "use_resolution_binning": False}


@dataclass(frozen=True)
class Family:
    """A family of models: its pipeline, how its folder is written, and our solver for the folder's scheduler."""

    pipeline: type[DiffusionPipeline]
    write: Callable[[Path], Path]
    size: tuple[int, int]  # height, width of pictures
    options: dict[str, Any]  # of the pipeline's call
    solver: str | None = None
    steps: int = STEPS  # so many that the scheduler has no timestep to round


stable_diffusion = tiny_unet.write_stable_diffusion
V = {**tiny_unet.TRAINED, "prediction_type": "v_prediction", "set_alpha_to_one": False, "clip_sample": False}
FAMILIES = {
    "pixart-alpha": Family(PixArtAlphaPipeline, tiny_pixart.write, (64, 96), OF_PIXART, "dpmpp-2m", 27),
    "pixart-alpha-1024": Family(
        PixArtAlphaPipeline, partial(tiny_pixart.write, sample_size=128), (96, 64), OF_PIXART, "dpmpp-2m", 27
    ),
    "pixart-sigma": Family(
        PixArtSigmaPipeline,
        partial(tiny_pixart.write, pipeline="PixArtSigmaPipeline", sample_size=128, use_additional_conditions=False),
        (64, 96),
        OF_PIXART,
        "dpmpp-2m",
        27,
    ),
    "stable-diffusion": Family(StableDiffusionPipeline, stable_diffusion, (48, 64), {}),
    "stable-diffusion-v": Family(
        StableDiffusionPipeline, partial(stable_diffusion, scheduler=DDIMScheduler(**V)), (64, 40), {}, "ddim"
    ),
    "stable-diffusion-xl": Family(
        StableDiffusionXLPipeline,
        partial(
            stable_diffusion,
            xl=True,
            scheduler=EulerDiscreteScheduler(**tiny_unet.TRAINED, timestep_spacing="leading"),
        ),
        (48, 64),
        {},
        "euler",
    ),
    "stable-diffusion-xl-encoded": Family(
        StableDiffusionXLPipeline, partial(stable_diffusion, xl=True, zeros_for_empty_prompt=False), (64, 48), {}
    ),
}


@dataclass(frozen=True)
class Run:
    """A run of the real pipeline: what its network received and returned, its latents and pictures."""

    calls: list[tuple[Tensor, float, Tensor]]  # latents, timestep, output; unconditional rows first under guidance
    latents: Tensor
    pictures: Tensor  # in [0, 1]
    scheduler: Any


def real(family: Family, folder: Path, noise: Tensor, dtype: torch.dtype, guidance: float, negative: str | None) -> Run:
    pipeline: Any = family.pipeline.from_pretrained(folder, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    network = pipeline.components.get("unet") or pipeline.components["transformer"]
    calls: list[tuple[Tensor, float, Tensor]] = []

    def note(module: Any, given: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
        timestep = named.get("timestep", given[1] if len(given) > 1 else None)
        calls.append((given[0], float(torch.as_tensor(timestep).flatten()[0]), out[0][:, :4].clone()))

    hook = network.register_forward_hook(note, with_kwargs=True)
    negatives = {} if negative is None else {"negative_prompt": [negative] * len(PROMPTS)}
    options = {
        "prompt": PROMPTS,
        "num_inference_steps": family.steps,
        "guidance_scale": guidance,
        "height": family.size[0],
        "width": family.size[1],
        "latents": noise.to(dtype),
        "return_dict": False,
        **negatives,
        **family.options,
    }
    latents = pipeline(**options, output_type="latent")[0]
    hook.remove()
    with torch.no_grad():
        pictures = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    return Run(calls, latents, (pictures / 2 + 0.5).clamp(0, 1), pipeline.scheduler)


def noise(family: Family, model: DiffusionModel) -> Tensor:
    latents = model.encode(torch.zeros(1, 3, *family.size)).expand(len(PROMPTS), -1, -1, -1)
    return torch.randn(latents.shape, generator=torch.Generator().manual_seed(5))


def error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((ours.float() - theirs.float()).abs().max() / theirs.float().abs().max())


def unconditional(model: DiffusionModel, negative: str | None) -> Conditioning:
    return model.empty_prompt if negative is None else model.encode_prompts([negative])


def estimates_error(model: DiffusionModel, family: Family, run: Run, negative: str | None) -> float:
    """Of noise estimates at SEEN timesteps, of unconditional and conditional rows."""
    bound = model.bind(model.encode_prompts(PROMPTS), family.size, unconditional(model, negative))
    schedule, errors = model.trained.schedule, []
    assert isinstance(schedule, DiscreteVP)
    for given, timestep, out in run.calls[:: len(run.calls) // SEEN]:
        level, x = schedule.at_timestep(timestep), given[-len(PROMPTS) :].float()
        if len(given) > len(PROMPTS):
            (pair,) = bound.pairs(x[None], [level])
            ours, x = torch.cat([pair.unconditional.eps, pair.conditional.eps]), x.repeat(2, 1, 1, 1)
        else:
            ours = bound.conditional(x[None], [level])[0].eps
        errors.append(error(ours, noise_estimate(out.float(), x, run.scheduler, timestep)))
    assert len(errors) >= SEEN
    return max(errors)


def noise_estimate(out: Tensor, x: Tensor, scheduler: Any, timestep: float) -> Tensor:
    if scheduler.config.prediction_type == "epsilon":
        return out
    signal = scheduler.alphas_cumprod[int(timestep)]
    return signal.sqrt() * out + (1 - signal).sqrt() * x


def guided(model: DiffusionModel, family: Family, guidance: float, negative: str | None) -> Denoiser:
    away = None if negative is None else model.encode_prompts([negative])
    return guided_denoiser(model, model.encode_prompts(PROMPTS), guidance, family.size, negative_prompt=away)


def sample(model: DiffusionModel, f: Denoiser, run: Run, x: Tensor, steps: int) -> Tensor:
    """Sample by the folder's own scheduler with our guided estimates, at its own timesteps."""
    scheduler, schedule = type(run.scheduler).from_config(run.scheduler.config), model.trained.schedule
    assert isinstance(schedule, DiscreteVP)
    scheduler.set_timesteps(steps)
    x = x * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        level = schedule.at_timestep(float(timestep))
        x0, eps = f(scheduler.scale_model_input(x, timestep), level)
        out = eps if model.trained.predicts == "eps" else level.alpha * eps - level.sigma * x0
        x = scheduler.step(out, timestep, x, return_dict=False)[0]
    return x


@pytest.mark.parametrize(
    ("dtype", "guidance", "negative"),
    [
        (torch.float32, 1.0, None),
        (torch.float32, 5.0, None),
        (torch.float32, 5.0, NEGATIVE),
        (torch.bfloat16, 5.0, None),
    ],
)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_computes_what_its_pipeline_computes(
    name: str, dtype: torch.dtype, guidance: float, negative: str | None, tmp_path: Path
) -> None:
    family, exact = FAMILIES[name], dtype == torch.float32
    folder = family.write(tmp_path / name)
    model = load_model(str(folder), dtype=dtype)
    start = noise(family, model)
    run = real(family, folder, start, dtype, guidance, negative)
    with torch.inference_mode():
        assert estimates_error(model, family, run, negative) <= 1e-5
        pictures = (model.decode(run.latents.float()) / 2 + 0.5).clamp(0, 1)
        assert error(pictures, run.pictures) <= (1e-4 if exact else 3e-2)  # the pipeline decodes in bfloat16
        f = guided(model, family, guidance, negative)
        sampled = sample(model, f, run, start, family.steps)
        assert error(sampled, run.latents) <= (1e-4 if exact else 6e-2)  # the pipeline rounds states to bfloat16
        if exact and family.solver is not None:
            ours = integrate(f, SOLVERS[family.solver](), start, model.trained.grid(family.steps)).x
            assert error(ours, run.latents) <= 1e-4
    if guidance > 1:
        without, prompted = run.calls[STEPS // 2][2].float().chunk(2)
        assert error(without, prompted) > 1e-3  # the prompt matters
