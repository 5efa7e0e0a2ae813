"""A network with its conditioning bound, as the guidance rules call it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fastdiff.models.diffusion_model import Conditioning
from fastdiff.models.scheduler_config import TrainedScheduler
from fastdiff.solvers.denoiser import Network
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.guidance import EstimatePair
from fastdiff.solvers.schedule import Level, Schedule

Predict = Callable[[Tensor, Tensor, Conditioning], Tensor]  # x (R, ...), timesteps (R,), prompts of R rows -> (R, ...)


@dataclass(frozen=True)
class ConditionedNetwork:
    """A `ConditionalDenoiser` for a network and its conditioning.

    `pairs` calls the network once on 2 B rows: B unconditional rows, then B conditional ones. For N levels, all rows of
    a level precede those of the next.
    """

    predict: Predict
    trained: TrainedScheduler
    prompts: Conditioning  # B rows
    unconditional: Conditioning | None = None  # one row, or B

    batched = True

    @property
    def schedule(self) -> Schedule:
        return self.trained.schedule

    def conditional(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        return self._network(self.prompts).at_levels(states, levels)

    def pairs(self, states: Tensor, levels: Sequence[Level]) -> list[EstimatePair]:
        found = self._network(self._both).at_levels(torch.cat([states, states], dim=1), levels)
        halves = [[value.chunk(2) for value in estimate] for estimate in found]
        return [
            EstimatePair(Estimate(x0, eps), Estimate(x0_without, eps_without))
            for (x0_without, x0), (eps_without, eps) in halves
        ]

    def fresh(self) -> "ConditionedNetwork":
        return self

    @cached_property
    def _both(self) -> Conditioning:
        assert self.unconditional is not None
        return Conditioning.cat(self.unconditional.repeat(len(self.prompts) // len(self.unconditional)), self.prompts)

    def _network(self, prompts: Conditioning) -> Network:
        def predict(x: Tensor, timestep: Tensor) -> Tensor:
            return self.predict(x, timestep, prompts.repeat(len(x) // len(prompts)))

        return Network(predict, self.trained.schedule, self.trained.predicts, self.trained.timestep)
