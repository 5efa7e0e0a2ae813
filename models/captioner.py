"""Image captioning models of transformers, from the hub's cache or a folder."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastdiff.models.classifier_loading import model_folder
from fastdiff.solvers.errors import UsageError

LONGEST = 60  # tokens of a caption
REQUEST = "Describe this picture in one sentence."  # the request to chat models


@dataclass(frozen=True)
class Captioner:
    """An image-to-text or image-text-to-text model with its processor."""

    model: Any
    processor: Any

    def __call__(self, colour: Tensor) -> str:
        """Return one caption for a picture (1, 3, H, W) in [-1, 1]."""
        from PIL import Image

        pixels = ((colour[0].movedim(0, -1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        image = Image.fromarray(pixels.cpu().numpy())
        given = self.processor(**self._inputs(image), return_tensors="pt").to(self.model.device)
        with torch.no_grad():
            generated = self.model.generate(**given, max_new_tokens=LONGEST, do_sample=False)
        start = given["input_ids"].shape[1] if "input_ids" in given and self._is_chat_model else 0
        captions: list[str] = self.processor.batch_decode(generated[:, start:], skip_special_tokens=True)
        return captions[0].strip()

    @property
    def _is_chat_model(self) -> bool:
        return bool(getattr(self.processor, "chat_template", None))

    def _inputs(self, image: Any) -> dict[str, Any]:
        if not self._is_chat_model:
            return {"images": image}
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": REQUEST}]}
        return {"images": image, "text": self.processor.apply_chat_template([turn], add_generation_prompt=True)}


def load_captioner(name: str, device: str = "cpu") -> Captioner:
    """Load the model of a folder or a downloaded one of the hub.

    Raises UsageError for a broken model or one that does not caption, MissingError for one not on this computer.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = model_folder(name)
    try:
        model: Any = AutoModelForImageTextToText.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # what a stranger's config makes of the library
        raise UsageError(f"cannot load {name}: {str(error).strip().partition(chr(10))[0]}") from error
    return Captioner(model.to(device).eval().requires_grad_(False), processor)
