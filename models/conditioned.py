"""Networks with their prompts bound, and classifier-free guidance in one call on twice the rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from fastdiff.models.backbone import Focus, Prompts
from fastdiff.models.latent import Latent
from fastdiff.solvers.denoiser import Denoiser, Network
from fastdiff.solvers.errors import UsageError


@dataclass(frozen=True)
class Guidance:
    """Prompts (B rows, or 2 B: those of the unconditional rows, then those of the conditional ones) and scales."""

    prompts: Prompts
    scale: Tensor | None  # (B, 1, 1, 1); None where the conditional rows are alone


def guided(
    prompts: Prompts, guidance: float | Sequence[float], against: Callable[[], Prompts], device: torch.device
) -> Guidance:
    """As `Prior.denoiser` says it; `against` gives a prompt of one row. Raises UsageError for scales that are not B."""
    rows = len(prompts.mask)
    scales = [guidance] * rows if isinstance(guidance, int | float) else list(guidance)
    if len(scales) != rows:
        raise UsageError(f"{len(scales)} guidance scales for {rows} prompts: give one, or one a prompt")
    if all(value == 1 for value in scales):
        return Guidance(prompts, None)
    return Guidance(_stacked(against(), prompts), torch.tensor(scales, device=device)[:, None, None, None])


@dataclass(frozen=True)
class Conditioned:
    """A network of diffusers with prompts bound, and its predictions guided in float32."""

    network: Callable[..., tuple[Tensor, ...]]
    bound: Guidance
    frame: Mapping[str, Tensor | None]  # further conditions, for as many rows as there are prompts
    masked: bool = True  # whether the network is told which tokens count
    focus: Focus | None = None

    def __call__(self, x: Tensor, label: Tensor) -> Tensor:
        """Noisy latents (N B, C, h, w) at labels (N B,) to the prediction (N B, C, h, w), without learned variances.

        The prompts stand for the rows N times over.
        """
        if self.bound.scale is None:
            return self._predict(x, label, halves=1)
        without, given = self._predict(torch.cat([x, x]), torch.cat([label, label]), halves=2).chunk(2)
        scale, guidance = self.bound.scale.repeat(len(x) // len(self.bound.scale), 1, 1, 1), given - without
        return without + scale * (guidance if self.focus is None else self.focus(guidance) * guidance)

    def _predict(self, x: Tensor, label: Tensor, halves: int) -> Tensor:
        def for_all(rows: Tensor) -> Tensor:
            """(halves * B, ...) to (halves * N * B, ...)."""
            return rows.unflatten(0, (halves, -1)).repeat(1, len(x) // len(rows), *[1] * (rows.ndim - 1)).flatten(0, 1)

        embeddings, mask = self.bound.prompts.embeddings, self.bound.prompts.mask
        out = self.network(
            x.to(embeddings.dtype),
            encoder_hidden_states=for_all(embeddings),
            encoder_attention_mask=for_all(mask) if self.masked else None,
            timestep=label,
            added_cond_kwargs={name: None if rows is None else for_all(rows) for name, rows in self.frame.items()},
            return_dict=False,
        )[0]
        return out[:, : x.shape[1]].float()


@dataclass(frozen=True)
class Hearing(Latent):
    """What models that hear prompts share: a family says how it reads them, and what else its network is told."""

    hears = True
    masked = True  # whether the network is told which tokens count

    def read(self, texts: Sequence[str]) -> Prompts:
        raise NotImplementedError

    def denoiser(
        self,
        prompts: Prompts,
        guidance: float | Sequence[float],
        size: tuple[int, int],
        against: Prompts | None = None,
        focus: Focus | None = None,
    ) -> Denoiser:
        bound = guided(prompts, guidance, lambda: against or self._nothing, self.device)
        net = Conditioned(self.network, bound, self._frame(bound.prompts, size), self.masked, focus)
        return Network(net, self.trained.schedule, self.trained.predicts, self.trained.timestep)

    @cached_property
    def _nothing(self) -> Prompts:
        return self.read([""])

    def _frame(self, prompts: Prompts, size: tuple[int, int]) -> dict[str, Tensor | None]:
        """Further conditions, a row a prompt, for pictures of `size` pixels (height, width)."""
        raise NotImplementedError


def _stacked(one: Prompts, many: Prompts) -> Prompts:
    """The prompt of one row for each of many, before those; what stands in words stays that of the many."""
    embeddings = torch.cat([one.embeddings.expand_as(many.embeddings), many.embeddings])
    mask = torch.cat([one.mask.expand_as(many.mask), many.mask])
    if one.pooled is None or many.pooled is None:
        return replace(many, embeddings=embeddings, mask=mask)
    return replace(
        many, embeddings=embeddings, mask=mask, pooled=torch.cat([one.pooled.expand_as(many.pooled), many.pooled])
    )
