"""How near pictures in four calls come to those of the guided teacher, on prompts that never trained.

Two measures tell what a distillation has bought. PSNR says how near a picture comes to the guided one from the same
noise; a student that draws new noise at every step, as LCM does, leaves the way to it and loses there. Detail says how
sharp a picture is beside the guided one, wherever its edges are; without guidance few calls blur.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fastdiff.apps.similarity import psnr
from fastdiff.models.diffusion_model import Conditioning
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.grids import grid, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.unipc import UniPC
from fastdiff.training.distillation.plan import conditioning
from fastdiff.training.fit import Batch, noise_like

PROMPTS = 16  # at most
STEPS, REFERENCE_STEPS = 4, 25
Sampler = Callable[[Conditioning, Tensor], Tensor]  # prompts and noise (B, C, h, w) to latents, in STEPS steps


@torch.no_grad()
@torch.compiler.set_stance("force_eager")  # few calls, of other shapes than in training
def score(
    teacher: LatentDiffusionModel, name: str, student: Sampler, guidance: float, held_out: Batch
) -> Mapping[str, object]:
    """Compare pictures with guided ones of 25 steps of DPM-Solver++(2M), from the same noise; means over pictures.

    Returns PSNR in dB and detail (see `detail`) of the student, which has `name`, in STEPS steps, and of the teacher by
    UniPC in as many, with and without guidance. With guidance a call takes two rows of the network, else one.
    """
    latents, embeddings, mask = (part[:PROMPTS].to(teacher.device) for part in held_out)
    prompts, size = conditioning(embeddings, mask), (teacher.resolution, teacher.resolution)
    guided, plain = (guided_denoiser(teacher, prompts, scale, size) for scale in (guidance, 1.0))
    torch.manual_seed(0)
    noise, schedule = noise_like(latents), teacher.trained.schedule
    few = grid(time_uniform, schedule, STEPS)
    wanted = _pictures(teacher, integrate(guided, dpmpp_2m(), noise, grid(time_uniform, schedule, REFERENCE_STEPS)).x)
    made = {
        name: student(prompts, noise),
        "unipc with guidance": integrate(guided, UniPC(), noise, few).x,
        "unipc without guidance": integrate(plain, UniPC(), noise, few).x,
    }
    scores: dict[str, object] = {"prompts": len(latents), "steps": STEPS, "reference steps": REFERENCE_STEPS}
    for each, ended in made.items():
        pictures = _pictures(teacher, ended)
        near = sum(psnr(*pair) for pair in zip(pictures, wanted, strict=True)) / len(wanted)
        scores |= {f"{each}, psnr": round(near, 2), f"{each}, detail": round(detail(pictures, wanted), 3)}
    return scores


def detail(pictures: Tensor, wanted: Tensor) -> float:
    """Return how much pictures (B, 3, H, W) change from pixel to pixel, relative to the wanted ones: 1 if as much.

    Blur has less, noise more. It is the mean over pictures of the ratio of mean absolute differences of grey levels.
    """
    change, wanted_change = _change(pictures), _change(wanted)
    return float((change / wanted_change.clamp(min=1e-6)).mean())


def _change(pictures: Tensor) -> Tensor:
    """Return the mean absolute difference (B,) of neighbours in pictures (B, 3, H, W)."""
    grey = pictures.mean(1)
    return sum(grey.diff(dim=axis).abs().flatten(1).mean(1) for axis in (1, 2))  # type: ignore[return-value]


def _pictures(model: LatentDiffusionModel, latents: Tensor) -> Tensor:
    return model.decode(latents).clamp(-1, 1)
