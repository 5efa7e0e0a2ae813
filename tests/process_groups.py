"""Runs over several processes, for their tests; a module of its own so that worker processes can import it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing
from problems import DISCRETE, MIXTURE, random_state
from torch import Tensor, nn

from fastdiff.solvers.denoiser import CountingDenoiser, Denoiser, Network
from fastdiff.solvers.distributed import DistributedDenoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import grid, log_snr
from fastdiff.solvers.parallel import integrate_parallel
from fastdiff.solvers.unipc import UniPC

WINDOW = 5  # steps: an odd number of states, and a single one at the end of the run
Wrap = Callable[[Denoiser], Denoiser]


class Run(NamedTuple):
    """The end of a run, its rounds, the evaluations of each item, and the levels that this process evaluated."""

    x: Tensor
    rounds: int
    evaluations: int
    here: int


def network() -> Network:
    """A small network with fixed weights."""
    layer = nn.Linear(3, 3, bias=False, dtype=torch.float64).requires_grad_(False)
    layer.weight.copy_(random_state(3, 3) / 2)
    return Network(lambda x, timestep: layer(x).tanh(), DISCRETE, "eps", DISCRETE.timestep, dtype=torch.float64)


def run(f: Denoiser, wrap: Wrap = lambda f: f) -> Run:
    counted, levels = CountingDenoiser(f), grid(log_snr, f.schedule, 12)
    found = integrate_parallel(wrap(counted), UniPC(), random_state(2, 3), levels, window=WINDOW, tolerance=1e-3)
    return Run(*found, counted.tally.nfe)


def refusals() -> list[str]:
    """What is refused: gradients of the state, and of the weights of a network."""
    weight, states = torch.ones(3, dtype=torch.float64, requires_grad=True), random_state(2, 1, 3)
    learning = Network(lambda x, timestep: weight * x, DISCRETE, "eps", DISCRETE.timestep, dtype=torch.float64)
    sentences = []
    for f, x in ((MIXTURE, states.clone().requires_grad_()), (learning, states)):
        try:
            DistributedDenoiser(f).at_levels(x, grid(log_snr, DISCRETE, 2)[:2])
        except UsageError as error:
            sentences.append(str(error))
    return sentences


def work(rank: int, size: int, folder: Path) -> None:
    """Make the runs as one of the processes of a group, and save them in the folder."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=size)
    runs = [run(f, DistributedDenoiser) for f in (MIXTURE, network())]
    torch.save((runs, refusals()), folder / f"{rank}.pt")
    dist.destroy_process_group()


def start(size: int, folder: Path) -> list[tuple[list[Run], list[str]]]:
    """Return the runs of every process, and what it refused."""
    torch.multiprocessing.spawn(work, (size, folder), nprocs=size)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]
