"""The folder that `fastdiff attack` reads; its card lists the photographs."""

from dataclasses import asdict
from pathlib import Path

from fastdiff.training import card
from fastdiff.training.prior.dataset import SIDE
from fastdiff.training.prior.train import Trained, TrainOptions

INDEX = {
    "_class_name": "LDMPipeline",
    "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
    "unet": ["diffusers", "UNet2DModel"],
    "vqvae": ["fastdiff.models.patch_codec", "PatchCodec"],
}


def pack(trained: Trained, options: TrainOptions, name: str = "photos") -> Path:
    """Writes a finished prior, in half precision, as the folder NAME with its card, and returns that."""
    networks = {"unet": trained.network.unet.half(), "vqvae": trained.codec}
    photos = [
        {"file": photo.path.name, "author": photo.author, "licence": photo.licence, "sha256": card.digest(photo.path)}
        for photo in options.photos
    ]
    description = {
        "recipe": card.without_machine(asdict(options), "folder", "photos"),
        "data": {"side": SIDE, "photos": photos},
    }
    return card.pack(options.folder / name, INDEX, networks, {"scheduler": trained.scheduler}, description)
