"""Evaluation of several noise levels on several processes, for parallel runs on more than one device."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from fastdiff.solvers.denoiser import DenoiserWrapper
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.schedule import Level


@dataclass(frozen=True, eq=False)
class DistributedDenoiser(DenoiserWrapper):
    """Splits the levels of `at_levels` among the processes of a group, and gathers all estimates in every process.

    Every process of the group makes the same run, on its own copy of the network: with
    `integrate_parallel(DistributedDenoiser(f), solver, x, levels)` a round takes the time of ceil(N / processes) of its
    N states. Give every process the same x, which no process checks. All processes receive the same bits, so they
    decide alike if they are machines of one kind. A single state is evaluated in every process.

    `group` is a group of torch.distributed, by default the group of all processes. Estimates carry no gradients:
    at_levels raises UsageError where they would.
    """

    group: dist.ProcessGroup | None = None

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        rank, size = dist.get_rank(self.group), dist.get_world_size(self.group)
        share = -(-len(levels) // size)
        mine = slice(rank * share, (rank + 1) * share)
        own = self.inner.at_levels(states[mine], levels[mine]) if levels[mine] else []
        if states.requires_grad or any(each.x0.requires_grad for each in own):
            raise UsageError("gradients do not pass between processes: evaluate under torch.no_grad")
        padding = states.new_zeros(2, *states.shape[1:])  # all processes send as much
        sent = torch.stack([*(torch.stack(each) for each in own), *[padding] * (share - len(own))])
        received = [torch.empty_like(sent) for _ in range(size)]
        dist.all_gather(received, sent, self.group)
        return [Estimate(*pair.unbind()) for pair in torch.cat(received)[: len(levels)]]
