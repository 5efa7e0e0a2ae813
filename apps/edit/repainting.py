"""Samples another background around a kept subject, from noise.

After every estimate of the clean picture, the subject is put back over it, in pixels (the range-null space step of
DDNM, Wang et al. 2022, arXiv 2212.00490, for an inpainting mask). Latents are coarse: one covers subject and
background. Only the change that the subject makes is encoded, so that the codec blurs nothing elsewhere.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastdiff.apps.edit.subject import OUTSIDE, Subject, dilated, nearest
from fastdiff.models.diffusion_model import DiffusionModel
from fastdiff.solvers.denoiser import DenoiserWrapper
from fastdiff.solvers.estimate import Estimate, from_x0
from fastdiff.solvers.schedule import Level

REACH = 20  # pixels around the subject, at pure noise, that may show another rendering of it; fewer as noise falls
SHAPE_TIME = 0.3  # time from which on the estimates around the subject count as they are
FRINGE = 3  # pixels around the subject that may show the codec's rendering of it


@dataclass(frozen=True, eq=False)
class SubjectKeepingDenoiser(DenoiserWrapper):
    """A denoiser of latents whose clean estimates show the subject, on the canvas (1, 1 and 3, h, w), as it is."""

    model: DiffusionModel
    subject: Subject

    def adjust(self, estimate: Estimate, x: Tensor, level: Level) -> Estimate:
        estimated = self.model.decode(estimate.x0).clamp(-1, 1)
        kept = self.subject.over(fill_subject(estimated, self.subject, _reach(level)))
        change = self.model.encode(kept) - self.model.encode(estimated)
        return from_x0(estimate.x0 + change, x, level)


def _reach(level: Level) -> int:
    return round(REACH * max(level.t - SHAPE_TIME, 0.0) / (1 - SHAPE_TIME))


def fill_subject(picture: Tensor, subject: Subject, reach: int) -> Tensor:
    """Return a picture (1, 3, h, w) with the nearest colours of its background wherever the subject is within reach."""
    away = dilated(subject.opacity[0, 0].cpu().numpy(), reach) <= OUTSIDE
    index = torch.from_numpy(nearest(away).ravel()).to(picture.device)
    return picture.flatten(2)[..., index].view_as(picture)
