"""Pictures of a SpeedUpNet in the steps that it is trained for."""

from torch import Tensor

from fastdiff.models.diffusion_model import Conditioning
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.models.speedup.adapter import SpeedUpNet
from fastdiff.models.speedup.denoiser import speedup_denoiser, speedup_grid
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.integration import integrate
from fastdiff.training.distillation.scores import Sampler


def student(model: LatentDiffusionModel, adapter: SpeedUpNet) -> Sampler:
    """Return the sampler of a model with its adapter, which moves to the model's device."""
    placed, size = adapter.to(model.device), (model.resolution, model.resolution)

    def sample(prompts: Conditioning, noise: Tensor) -> Tensor:
        f = speedup_denoiser(model, placed, prompts, size)
        return integrate(f, DDIM(), noise, speedup_grid(f.schedule)).x

    return sample
