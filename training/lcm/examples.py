"""Where the pictures and prompts of a distillation come from: a folder, or for the bundled model rendered scenes."""

from pathlib import Path

from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.models.pixart import PixArt
from fastdiff.solvers.errors import UsageError
from fastdiff.training.edit.render import emoji_font
from fastdiff.training.lcm.captioned_pictures import CaptionedPictures
from fastdiff.training.lcm.scene_examples import SceneExamples
from fastdiff.training.lcm.train import Examples, TrainOptions


def find_examples(
    model: LatentDiffusionModel, options: TrainOptions, pictures: Path | None, font: Path | None
) -> Examples:
    """Return the examples of a folder of pictures with captions, or scenes rendered with the font.

    Raises UsageError for a model that needs a folder, and for a folder with too few; MissingError without the font.
    """
    if pictures is not None:
        return CaptionedPictures(model, pictures, options.batch, options.seed)
    if model.name != "scenes" or not isinstance(model, PixArt):
        raise UsageError(f"{model.name} learns from pictures with captions: give their folder by --pictures")
    return SceneExamples(model, font or emoji_font(), options.folder / "latents", options.batch, options.seed)
