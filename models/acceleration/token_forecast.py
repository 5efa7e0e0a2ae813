"""Forecasts of features from their values at earlier steps of a run, token by token."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastdiff.models.acceleration.token_choice import put_tokens, take_tokens


@dataclass(frozen=True, eq=False)
class TokenForecast:
    """A line in the step number for every token, through its last two computed values, in float32 at least.

    This is TaylorSeer of order 1 (Liu et al. 2025, arXiv 2503.06923).
    """

    steps: Tensor  # (R, N, 1) of the last computed value
    values: Tensor  # (R, N, D)
    slopes: Tensor | None = None  # (R, N, D) per step, None where one value is known

    @property
    def rows(self) -> int:
        return len(self.values)

    @property
    def nbytes(self) -> int:
        return sum(each.nbytes for each in (self.steps, self.values, self.slopes) if each is not None)

    def updated(self, step: int, tokens: Tensor | None, values: Tensor) -> "TokenForecast":
        """Return the forecast with values (R, K, D) of these tokens (R, K), of all for None, at a later step."""
        values = values.to(self.values.dtype)
        gaps = step - take_tokens(self.steps, tokens)
        slopes = (values - take_tokens(self.values, tokens)) / gaps
        return TokenForecast(
            put_tokens(self.steps, tokens, torch.full_like(gaps, step)),
            put_tokens(self.values, tokens, values),
            slopes if self.slopes is None else put_tokens(self.slopes, tokens, slopes),
        )

    def at(self, step: int) -> Tensor:
        """Return the forecast (R, N, D) for a step. At the step of its value a token has this value."""
        return self.values if self.slopes is None else self.values + (step - self.steps) * self.slopes


def first_token_forecast(step: int, values: Tensor) -> TokenForecast:
    """Return the forecast that knows one value (R, N, D) of every token."""
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    return TokenForecast(torch.full_like(values[..., :1], step), values)
