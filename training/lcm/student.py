"""Pictures of a distilled network in few steps, as `fastdiff.solvers.lcm` samples them."""

from dataclasses import replace

from torch import Tensor, nn

from fastdiff.models.diffusion_model import Conditioning
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.solvers.grids import grid
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.lcm import LCM, consistency_points
from fastdiff.training.distillation.scores import STEPS, Sampler


def student(model: LatentDiffusionModel, network: nn.Module) -> Sampler:
    """Return the sampler of a model with the distilled network, which moves to the model's device, for its own."""
    distilled = replace(model, network=network.to(model.device))

    def sample(prompts: Conditioning, noise: Tensor) -> Tensor:
        f = guided_denoiser(distilled, prompts, 1.0, (model.resolution, model.resolution))
        return integrate(f, LCM(), noise, grid(consistency_points, f.schedule, STEPS, clean=True)).x

    return sample
