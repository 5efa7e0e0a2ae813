"""What the bundled diffusion networks learn: v in the white latents of a patch codec, on the cosine schedule."""

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor, nn

from fastdiff.models.patch_codec import PatchCodec
from fastdiff.models.scheduler_config import SHARED_LABELS
from fastdiff.solvers.shared_timesteps import SharedTimesteps
from fastdiff.training.fit import Objective


def scheduler(shared_labels: int = 0) -> DPMSolverMultistepScheduler:
    """The cosine schedule of Nichol & Dhariwal 2021 (arXiv 2102.09672) for networks that predict v.

    Its config says up to which label conditions are shared (`fastdiff.solvers.shared_timesteps`), where any are.
    """
    made = DPMSolverMultistepScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    if shared_labels:
        made.register_to_config(**{SHARED_LABELS: shared_labels})
    return made


def velocity_loss(codec: PatchCodec, abar: Tensor, shared_labels: int = 0) -> Objective:
    """Error of v = alpha eps - sigma x0 (Salimans & Ho 2022, arXiv 2202.00512) at logit-normal training steps.

    White latents make faint components as loud as strong ones: each counts by its deviation. The network is called
    with noisy latents, their labels and what else a batch holds beside its pictures.
    """
    shared = SharedTimesteps(shared_labels)
    labels = torch.tensor([shared(label) for label in range(len(abar))])
    weight = (codec.deviation / codec.deviation.mean())[:, None, None]

    def loss(net: nn.Module, pictures: Tensor, *given: Tensor) -> Tensor:
        clean = codec.encode(pictures.float()).latent_dist.mode()  # (B, C, H, W)
        t = (torch.randn(len(clean)).sigmoid() * len(abar)).long()
        alpha, sigma = abar[t].sqrt()[:, None, None, None], (1 - abar[t]).sqrt()[:, None, None, None]
        noise = torch.randn_like(clean)
        predicted = net(alpha * clean + sigma * noise, labels[t], *given).float()
        return (weight * (predicted - (alpha * noise - sigma * clean)).square()).mean()

    return loss
