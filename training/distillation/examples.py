"""Where the pictures and prompts of a distillation come from: a folder, or for the bundled model rendered scenes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.models.pixart import PixArt
from fastdiff.solvers.errors import UsageError
from fastdiff.training.distillation.captioned_pictures import CaptionedPictures
from fastdiff.training.distillation.plan import DistillationPlan
from fastdiff.training.distillation.scene_examples import SceneExamples
from fastdiff.training.edit.render import emoji_font
from fastdiff.training.fit import Batch


class Examples(Protocol):
    """Pictures and their prompts."""

    @property
    def description(self) -> str: ...

    def batches(self, first: int) -> Iterator[Batch]:
        """Latents (B, C, h, w), embeddings (B, L, D) and mask (B, L) of prompts, without end, from a step on."""
        ...

    def held_out(self) -> Batch:
        """The same of pictures that never train."""
        ...


def find_examples(
    model: LatentDiffusionModel, plan: DistillationPlan, pictures: Path | None, font: Path | None
) -> Examples:
    """Return the examples of a folder of pictures with captions, or scenes rendered with the font.

    Raises UsageError for a model that needs a folder, and for a folder with too few; MissingError without the font.
    """
    if pictures is not None:
        return CaptionedPictures(model, pictures, plan.batch, plan.seed)
    if model.name != "scenes" or not isinstance(model, PixArt):
        raise UsageError(f"{model.name} learns from pictures with captions: give their folder by --pictures")
    return SceneExamples(model, font or emoji_font(), plan.folder / "latents", plan.batch, plan.seed)
