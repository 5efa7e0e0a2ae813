"""The objective of latent consistency models (Luo et al. 2023, arXiv 2310.04378 and 2311.05556).

At any level the student is to estimate what it estimates one stride further down the teacher's trajectory, where the
teacher takes a guided step of DDIM. At the lowest level the state itself is the estimate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fastdiff.models.diffusion_model import Conditioning
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.solvers.estimate import FROM, Estimate
from fastdiff.solvers.schedule import DiscreteVP, Level
from fastdiff.training.distillation.plan import conditioning, pseudo_huber
from fastdiff.training.fit import noise_like
from fastdiff.training.lcm.adapter import without_adapter


@dataclass(frozen=True)
class ConsistencyLoss:
    """The objective for a network with an adapter; the same network without it is the teacher.

    `guidance` is the teacher's scale w in e_u + w (e_c - e_u), `empty` the unconditional prompt, of one row, and `size`
    the (height, width) of the pictures. The loss is the pseudo-Huber distance, as the authors advise.
    """

    model: LatentDiffusionModel
    schedule: DiscreteVP
    guidance: float
    empty: Conditioning
    size: tuple[int, int]
    points: Sequence[Level]  # from which students estimate, the noisiest first

    def __call__(self, net: nn.Module, clean: Tensor, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Return the loss for clean latents (B, C, h, w) and encoded prompts, embeddings (B, L, D) and mask (B, L)."""
        prompts = conditioning(embeddings, mask)
        chosen = torch.randint(len(self.points), (len(clean),)).tolist()
        starts = [self.points[index] for index in chosen]
        ends = [self.below(index) for index in chosen]
        x = _noised(clean, noise_like(clean), starts)
        with torch.no_grad():
            with without_adapter(net):
                before = _noised(*self._guided(net, x, starts, prompts), ends)
            target = self._estimate(net, before, ends, prompts).x0
            last = torch.tensor([index == len(self.points) - 1 for index in chosen], device=x.device)
            target = torch.where(last[:, None, None, None], before, target)
        return pseudo_huber(self._estimate(net, x, starts, prompts).x0 - target)

    def below(self, index: int) -> Level:
        """Return the level one stride below a point: the next point, or the cleanest trained level."""
        return self.points[index + 1] if index + 1 < len(self.points) else self.schedule.at_timestep(0)

    def _guided(self, net: nn.Module, x: Tensor, levels: Sequence[Level], prompts: Conditioning) -> Estimate:
        both = Conditioning.cat(self.empty.repeat(len(x)), prompts)
        x0, eps = self._estimate(net, torch.cat([x, x]), [*levels, *levels], both)
        (x0_without, x0_with), (eps_without, eps_with) = x0.chunk(2), eps.chunk(2)
        return Estimate(
            torch.lerp(x0_without, x0_with, self.guidance), torch.lerp(eps_without, eps_with, self.guidance)
        )

    def _estimate(self, net: nn.Module, x: Tensor, levels: Sequence[Level], prompts: Conditioning) -> Estimate:
        """Evaluate the network once on rows (R, ...) at levels of their own."""
        trained = self.model.trained
        timesteps = torch.tensor([trained.timestep(level) for level in levels], device=x.device)
        out = replace(self.model, network=net).predict(x, timesteps, prompts, self.size)
        rows = zip(out.split(1), x.split(1), levels, strict=True)
        estimates = [FROM[trained.predicts](*row) for row in rows]
        return Estimate(*(torch.cat(parts) for parts in zip(*estimates, strict=True)))


def _noised(x0: Tensor, eps: Tensor, levels: Sequence[Level]) -> Tensor:
    """Return alpha x0 + sigma eps, (B, ...), for rows at levels of their own."""
    return torch.stack([level.alpha * a + level.sigma * b for a, b, level in zip(x0, eps, levels, strict=True)])
