"""PixArt-alpha (Chen et al. 2023, arXiv 2310.00426) and PixArt-Sigma (Chen et al. 2024, arXiv 2403.04692).

The networks are those of diffusers and transformers, from a folder in the layout of diffusers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, T5EncoderModel, T5Tokenizer

from fastdiff.models.backbone import Focus, Prompts
from fastdiff.models.diffusers_folder import ModelFolder
from fastdiff.models.parts import load_network, load_tokenizer
from fastdiff.models.patch_codec import PatchCodec
from fastdiff.models.scheduler_config import TrainedScheduler, read_scheduler_config
from fastdiff.models.words import words_beyond, words_of
from fastdiff.solvers.denoiser import Denoiser, Network
from fastdiff.solvers.errors import UsageError

LONGEST = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300}  # tokens of a prompt in training
TRANSFORMERS = {
    "diffusers.PixArtTransformer2DModel": PixArtTransformer2DModel,
    "diffusers.Transformer2DModel": PixArtTransformer2DModel,  # its name in the first published folders
}
AUTOENCODERS = {
    "diffusers.AutoencoderKL": AutoencoderKL,
    "fastdiff.models.patch_codec.PatchCodec": PatchCodec,
}
TEXT_ENCODERS = {"transformers.T5EncoderModel": T5EncoderModel}
TOKENIZERS = {
    "transformers.T5Tokenizer": T5Tokenizer,
    "transformers.T5TokenizerFast": T5Tokenizer,
    "transformers.PreTrainedTokenizerFast": PreTrainedTokenizerFast,
    "transformers.TokenizersBackend": PreTrainedTokenizerFast,
}


@dataclass(frozen=True)
class PixArt:
    """The `Backbone` of the PixArt family. With `offload`, only the transformer stays on the device between uses."""

    name: str
    trained: TrainedScheduler
    transformer: Any  # PixArtTransformer2DModel; the configs of these three have no types
    vae: Any  # AutoencoderKL or PatchCodec
    text_encoder: Any  # T5EncoderModel
    tokenizer: PreTrainedTokenizerFast
    longest: int  # tokens of a prompt, the end of it among them
    device: torch.device
    offload: bool = False

    @property
    def side(self) -> int:
        return self.transformer.config.sample_size * self._factor

    @property
    def multiple(self) -> int:
        return self._factor * self.transformer.config.patch_size

    def encode(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise UsageError(f"a picture of {width}x{height}: sides are multiples of {self.multiple}")
        with self._at_work(self.vae):
            latents = self.vae.encode(pictures.to(self.device, self.vae.dtype)).latent_dist.mode()
        return (latents.float() - self._shift) * self.vae.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        latents = latents / self.vae.config.scaling_factor + self._shift
        with self._at_work(self.vae):
            return self.vae.decode(latents.to(self.device, self.vae.dtype), return_dict=False)[0].float()

    def read(self, texts: Sequence[str]) -> Prompts:
        cleaned = [text.lower().strip() for text in texts]
        told = self.tokenizer(cleaned, padding="max_length", max_length=self.longest, truncation=True)
        tokens = torch.tensor(told.input_ids, device=self.device)
        mask = torch.tensor(told.attention_mask, dtype=torch.bool, device=self.device)
        with self._at_work(self.text_encoder):
            embeddings = self.text_encoder(tokens, attention_mask=mask).last_hidden_state
        encodings = [told[row] for row in range(len(cleaned))]
        beyond = [[span for rest in encoding.overflowing for span in rest.offsets] for encoding in encodings]
        return Prompts(
            embeddings.to(self.transformer.dtype),
            mask,
            tuple(tuple(row[: sum(counts)]) for row, counts in zip(told.input_ids, told.attention_mask, strict=True)),
            tuple(words_of(text, encoding.offsets) for text, encoding in zip(cleaned, encodings, strict=True)),
            tuple(words_beyond(text, spans) for text, spans in zip(cleaned, beyond, strict=True)),
        )

    def denoiser(
        self,
        prompts: Prompts,
        guidance: float | Sequence[float],
        size: tuple[int, int],
        against: Prompts | None = None,
        focus: Focus | None = None,
    ) -> Denoiser:
        rows = len(prompts.mask)
        scales = [guidance] * rows if isinstance(guidance, int | float) else list(guidance)
        if len(scales) != rows:
            raise UsageError(f"{len(scales)} guidance scales for {rows} prompts: give one, or one a prompt")
        embeddings, mask, scale = prompts.embeddings, prompts.mask, None
        if any(value != 1 for value in scales):
            against = against or self._nothing
            embeddings = torch.cat([against.embeddings.expand_as(embeddings), embeddings])
            mask = torch.cat([against.mask.expand_as(mask), mask])
            scale = torch.tensor(scales, device=self.device)[:, None, None, None]
        net = Conditioned(self.transformer, embeddings, mask, self._frame(size), scale, focus)
        return Network(net, self.trained.schedule, self.trained.predicts, self.trained.clock)

    def token_grid(self, latents: Tensor) -> tuple[int, int]:
        patch = self.transformer.config.patch_size
        return latents.shape[-2] // patch, latents.shape[-1] // patch

    @cached_property
    def _nothing(self) -> Prompts:
        return self.read([""])

    @property
    def _factor(self) -> int:
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def _shift(self) -> float:
        return getattr(self.vae.config, "shift_factor", None) or 0.0

    def _frame(self, size: tuple[int, int]) -> dict[str, Tensor | None]:
        """The micro-conditions of PixArt-alpha at 1024 pixels, one row: size and height / width of the picture."""
        if not self.transformer.use_additional_conditions:
            return {"resolution": None, "aspect_ratio": None}
        height, width = size
        return {
            "resolution": torch.tensor([[height, width]], dtype=torch.float32, device=self.device),
            "aspect_ratio": torch.tensor([[height / width]], device=self.device),
        }

    @contextmanager
    def _at_work(self, part: nn.Module) -> Iterator[None]:
        if not self.offload:
            yield
            return
        part.to(self.device)
        try:
            yield
        finally:
            part.to("cpu")


@dataclass(frozen=True)
class Conditioned:
    """The transformer with prompts bound, and its predictions guided in float32.

    Without `scale` there are B prompts. With it, (B, 1, 1, 1), there are 2 B: those of the unconditional rows, then
    those of the conditional ones.
    """

    transformer: PixArtTransformer2DModel
    embeddings: Tensor  # (B or 2 B, L, D)
    mask: Tensor  # (B or 2 B, L)
    frame: dict[str, Tensor | None]  # a row of every micro-condition
    scale: Tensor | None
    focus: Focus | None = None

    def __call__(self, x: Tensor, label: Tensor) -> Tensor:
        """Noisy latents (N B, C, h, w) at labels (N B,) to the prediction (N B, C, h, w), without learned variances.

        The prompts stand for the rows N times over.
        """
        if self.scale is None:
            return self._predict(x, label, halves=1)
        without, given = self._predict(torch.cat([x, x]), torch.cat([label, label]), halves=2).chunk(2)
        scale, guidance = self.scale.repeat(len(x) // len(self.scale), 1, 1, 1), given - without
        return without + scale * (guidance if self.focus is None else self.focus(guidance) * guidance)

    def _predict(self, x: Tensor, label: Tensor, halves: int) -> Tensor:
        def for_all(rows: Tensor) -> Tensor:
            """(halves * B, ...) to (halves * N * B, ...)."""
            return rows.unflatten(0, (halves, -1)).repeat(1, len(x) // len(rows), *[1] * (rows.ndim - 1)).flatten(0, 1)

        frame = {name: None if row is None else row.expand(len(x), -1) for name, row in self.frame.items()}
        out = self.transformer(
            x.to(self.embeddings.dtype),
            encoder_hidden_states=for_all(self.embeddings),
            encoder_attention_mask=for_all(self.mask),
            timestep=label,
            added_cond_kwargs=frame,
            return_dict=False,
        )[0]
        return out[:, : x.shape[1]].float()


def load_pixart(
    folder: ModelFolder, name: str, device: torch.device, dtype: torch.dtype, *, offload: bool = False
) -> PixArt:
    """The backbone in a folder whose pipeline is one of LONGEST.

    The autoencoder is float32 whatever `dtype` is: that of PixArt-Sigma overflows in float16. Raises UsageError for a
    folder that is not whole or asks for other classes.
    """
    transformer = load_network(folder, "transformer", TRANSFORMERS, dtype).to(device)
    vae = load_network(folder, "vae", AUTOENCODERS, torch.float32)
    text_encoder = load_network(folder, "text_encoder", TEXT_ENCODERS, dtype)
    tokenizer = load_tokenizer(folder, "tokenizer", TOKENIZERS)
    _check_fit(folder, transformer, vae, text_encoder)
    return PixArt(
        name=name,
        trained=read_scheduler_config(folder.path / "scheduler"),
        transformer=transformer,
        vae=vae if offload else vae.to(device),
        text_encoder=text_encoder if offload else text_encoder.to(device),
        tokenizer=tokenizer,
        longest=min(LONGEST[folder.pipeline], tokenizer.model_max_length),
        device=device,
        offload=offload,
    )


def _check_fit(folder: ModelFolder, transformer: Any, vae: Any, text_encoder: Any) -> None:
    wanted = (transformer.config.in_channels, transformer.config.caption_channels)
    given = (vae.config.latent_channels, text_encoder.config.d_model)
    if wanted != given:
        raise UsageError(f"the parts of {folder.path} do not fit: channels {wanted} are wanted, and {given} are given")
