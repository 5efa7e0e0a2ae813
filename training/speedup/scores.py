"""How near pictures in four calls come to those of the guided teacher, on prompts that never trained."""

from collections.abc import Mapping

import torch

from fastdiff.apps.similarity import psnr
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.models.speedup.adapter import SpeedUpNet
from fastdiff.models.speedup.denoiser import STEPS, speedup_denoiser, speedup_grid
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.grids import grid, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.unipc import UniPC
from fastdiff.training.distillation.plan import conditioning
from fastdiff.training.fit import Batch, noise_like

PROMPTS = 16  # at most
REFERENCE_STEPS = 25


@torch.no_grad()
@torch.compiler.set_stance("force_eager")  # few calls, of other shapes than in training
def score(model: LatentDiffusionModel, adapter: SpeedUpNet, guidance: float, held_out: Batch) -> Mapping[str, object]:
    """Return the PSNR in dB to guided pictures of 25 steps of DPM-Solver++(2M), from the same noise.

    It is that of the adapter in 4 steps, and those of UniPC in 4 steps with and without guidance. The mean is over
    pictures.
    """
    latents, embeddings, mask = (part[:PROMPTS].to(model.device) for part in held_out)
    prompts, size = conditioning(embeddings, mask), (model.resolution, model.resolution)
    guided, plain = (guided_denoiser(model, prompts, scale, size) for scale in (guidance, 1.0))
    fast = speedup_denoiser(model, adapter.to(model.device), prompts, size)
    torch.manual_seed(0)
    noise, schedule = noise_like(latents), model.trained.schedule
    few = grid(time_uniform, schedule, STEPS)
    reference = integrate(guided, dpmpp_2m(), noise, grid(time_uniform, schedule, REFERENCE_STEPS)).x
    made = {
        "speedup": integrate(fast, DDIM(), noise, speedup_grid(schedule)).x,
        "unipc with guidance": integrate(guided, UniPC(), noise, few).x,
        "unipc without guidance": integrate(plain, UniPC(), noise, few).x,
    }
    wanted = model.decode(reference).clamp(-1, 1)
    return {"prompts": len(latents), "steps": STEPS, "reference steps": REFERENCE_STEPS} | {
        f"{name}, psnr": round(_mean_psnr(model.decode(latents).clamp(-1, 1), wanted), 2)
        for name, latents in made.items()
    }


def _mean_psnr(pictures: torch.Tensor, wanted: torch.Tensor) -> float:
    return sum(psnr(*pair) for pair in zip(pictures, wanted, strict=True)) / len(wanted)
