"""The objective of an attack on logits: its margin and its score."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fastdiff.apps.attack.presets import Loss


@dataclass(frozen=True)
class Goal:
    """Leave the class `labels` (B,), or reach it if `targeted`."""

    labels: Tensor
    targeted: bool

    def take(self, rows: Tensor) -> "Goal":
        return Goal(self.labels[rows], self.targeted)

    def margin(self, logits: Tensor) -> Tensor:
        """Return the margin (B,) of the goal in logits: above 0 the picture fools the classifier."""
        return self._lead(logits, torch.amax)

    def odds(self, logits: Tensor) -> Tensor:
        """Return the logarithm (B,) of the odds of the goal: smooth between runners-up, and never saturated."""
        return self._lead(logits, torch.logsumexp)

    def _lead(self, logits: Tensor, summarize: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Return how far the label leads over a summary of the other classes, or these over it, as the goal is."""
        mine = logits.gather(1, self.labels[:, None])[:, 0]
        others = summarize(logits.scatter(1, self.labels[:, None], -torch.inf), 1)
        return mine - others if self.targeted else others - mine

    def score(self, logits: Tensor, loss: Loss) -> Tensor:
        """Return the score (B,) to maximise."""
        if loss == "margin":
            return self.margin(logits)
        error = F.cross_entropy(logits, self.labels, reduction="none")
        return -error if self.targeted else error
