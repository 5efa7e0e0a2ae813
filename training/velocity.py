"""The objective of the bundled diffusion networks: v-prediction in white latents, on the cosine schedule."""

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor, nn

from fastdiff.models.conv_codec import ConvCodec
from fastdiff.models.patch_codec import PatchCodec
from fastdiff.models.scheduler_config import SHARED_LABELS
from fastdiff.solvers.shared_timesteps import SharedTimesteps
from fastdiff.training.fit import Objective, noise_like


def scheduler(shared_labels: int = 0) -> DPMSolverMultistepScheduler:
    """The cosine schedule of Nichol & Dhariwal 2021 (arXiv 2102.09672) for networks that predict v.

    Its config says up to which label conditions are shared (`fastdiff.solvers.shared_timesteps`), where any are.
    """
    made = DPMSolverMultistepScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    if shared_labels:
        made.register_to_config(**{SHARED_LABELS: shared_labels})
    return made


def velocity_loss(abar: Tensor, shared_labels: int = 0, weight: Tensor | None = None) -> Objective:
    """Error of v = alpha eps - sigma x0 (Salimans & Ho 2022, arXiv 2202.00512) at logit-normal training steps.

    The network is called with noisy latents, their timesteps and the rest of a batch. `weight` broadcasts over latents
    (B, C, H, W). `abar` and `weight` are on the CPU; latents may be elsewhere.
    """
    shared = SharedTimesteps(shared_labels)
    labels = torch.tensor([shared(label) for label in range(len(abar))])

    def loss(net: nn.Module, clean: Tensor, *given: Tensor) -> Tensor:
        t = (torch.randn(len(clean)).sigmoid() * len(abar)).long()
        alpha, sigma = (share.sqrt()[:, None, None, None].to(clean.device) for share in (abar[t], 1 - abar[t]))
        noise = noise_like(clean)
        predicted = net(alpha * clean + sigma * noise, labels[t].to(clean.device), *given).float()
        error = (predicted - (alpha * noise - sigma * clean)).square()
        return (error if weight is None else weight.to(error.device) * error).mean()

    return loss


def component_weight(codec: PatchCodec) -> Tensor:
    """The deviation of every component, relative to their mean, (C, 1, 1): the weight of its error.

    White latents make faint components as strong as others.
    """
    return (codec.deviation / codec.deviation.mean())[:, None, None]


@torch.no_grad()
def encode(codec: PatchCodec | ConvCodec, pictures: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in [-1, 1] to latents (B, C, h, w)."""
    return codec.encode(pictures.float()).latent_dist.mode().float()
