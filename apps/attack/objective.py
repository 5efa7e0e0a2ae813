"""What an attack wants of the logits, and how near it is."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fastdiff.apps.attack.presets import Loss


@dataclass(frozen=True)
class Goal:
    """Away from the class `labels` (B,), or where `targeted` towards it."""

    labels: Tensor
    targeted: bool

    def take(self, rows: Tensor) -> "Goal":
        return Goal(self.labels[rows], self.targeted)

    def margin(self, logits: Tensor) -> Tensor:
        """(B,) how far the wished outcome is ahead, in logits: above 0 the picture fools the classifier."""
        mine = logits.gather(1, self.labels[:, None])[:, 0]
        others = logits.scatter(1, self.labels[:, None], -torch.inf).amax(1)
        return mine - others if self.targeted else others - mine

    def score(self, logits: Tensor, loss: Loss) -> Tensor:
        """(B,) what is to be raised."""
        if loss == "margin":
            return self.margin(logits)
        error = F.cross_entropy(logits, self.labels, reduction="none")
        return -error if self.targeted else error
