"""The policy network of ConsistencySolver (Wang et al. 2025, arXiv 2512.13592).

From the two times of a step it gives, for each coefficient of the step, a distribution over the values of a fixed grid.
`fastdiff.solvers.tuning.consistency` trains it by reinforcement learning. Samplers take the most probable values: the
authors' code draws them, so that two previews from the same noise differ.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fastdiff.solvers.coefficients import check_grid
from fastdiff.solvers.consistency import COUNT, Coefficients, ConsistencySolver
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step, steps_of

RANGES = ((0.0, 2.0), (-2.0, 0.0), (-1.0, 1.0))  # of a_0, a_1 and a_2
VALUES = 11  # of each range, equally spaced, with both ends
WIDTH = 256  # of the two hidden layers


class ConsistencyPolicy(nn.Module):
    """Maps the times (S, 2) of steps, in [0, 1], to logits (S, COUNT, VALUES). A new policy is uniform."""

    values: Tensor  # (COUNT, VALUES)

    def __init__(self) -> None:
        super().__init__()
        last = nn.Linear(WIDTH, COUNT * VALUES)
        last.weight, last.bias = (nn.Parameter(torch.zeros_like(each)) for each in (last.weight, last.bias))
        self.network = nn.Sequential(nn.Linear(2, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), last)
        values = torch.stack([torch.linspace(low, high, VALUES) for low, high in RANGES])
        self.register_buffer("values", values, persistent=False)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "ConsistencyPolicy":
        """Restore the policy from its `state_dict()`. Raises UsageError for damaged weights."""
        policy, known = cls(), {name: value.float().cpu() for name, value in tensors.items()}
        try:
            policy.load_state_dict(known)
        except RuntimeError as error:
            raise UsageError(f"the stored policy of {ConsistencySolver.__name__} is damaged: {error}") from error
        if not all(value.isfinite().all() for value in known.values()):
            raise UsageError(f"the stored policy of {ConsistencySolver.__name__} is damaged: it is not finite")
        return policy.requires_grad_(False)

    def forward(self, times: Tensor) -> Tensor:
        logits: Tensor = self.network(times)
        return logits.reshape(-1, COUNT, VALUES)

    def coefficients(self, grid: Grid) -> Coefficients:
        """Return the most probable coefficients of every step: the rule of a `ConsistencySolver`.

        Raises UsageError for a rising grid.
        """
        steps = steps_of(grid)
        check_grid(ConsistencySolver.__name__, len(steps), grid)
        chosen = self(times_of(steps)).argmax(dim=-1, keepdim=True)  # (N, COUNT, 1)
        rows: list[list[float]] = self.values.expand(len(steps), -1, -1).gather(-1, chosen)[..., 0].tolist()
        return rows


def times_of(steps: Sequence[Step]) -> Tensor:
    """Return the times (S, 2) at the start and the end of steps."""
    return torch.tensor([(step.t.t, step.u.t) for step in steps])
