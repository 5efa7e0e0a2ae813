"""Training of ConsistencySolver's policy by PPO (Wang et al. 2025, arXiv 2512.13592; Schulman et al. 2017, 1707.06347).

An iteration draws a batch of starts and a grid, and runs copies of every start with coefficients that the policy draws.
The reward of a run is the negative logarithm of its mean squared distance to the reference, which is the PSNR up to a
factor. The mean over the copies of one start is the baseline, so there is no critic.

The authors train on a single start an iteration, in 80 copies. Their code adds the logarithms of the probabilities of
coefficients that a step does not have; here they take no part.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, log
from pathlib import Path

import torch
from torch import Tensor

from fastdiff.solvers.consistency import COUNT, ConsistencySolver
from fastdiff.solvers.consistency_policy import VALUES, ConsistencyPolicy, times_of
from fastdiff.solvers.denoiser import Denoiser, DenoiserWrapper
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import integrate, steps_of
from fastdiff.solvers.rows import row_values
from fastdiff.solvers.schedule import Level
from fastdiff.solvers.tuning.consistency_checkpoint import PolicyTraining
from fastdiff.solvers.tuning.teacher import Batch, Watch, unwatched

CLIP = 0.2  # of the ratio of probabilities
ENTROPY = 0.01  # weight of the entropy, which is 1 for a uniform policy
ADVANTAGE = 10.0  # factor of the normalized reward
DECAY = 1e-3  # of weights
NORM = 1.0  # of the gradient, at most
SMALLEST = 1e-8  # mean squared distance, and deviation of rewards


@dataclass(frozen=True)
class Plan:
    """The extent of a training, some minutes for small networks.

    The authors take 1000 to 3000 iterations of 80 runs, 1 to 4 epochs, and rates of 1e-4 to 1e-3.
    """

    iterations: int = 60
    copies: int = 8  # of every start of a batch
    epochs: int = 8  # updates of an iteration
    rate: float = 1e-2
    minutes: float = inf  # at most, over all runs of a training that resumes


@dataclass(frozen=True, eq=False)
class Copies(DenoiserWrapper):
    """Evaluates `copies` copies of every row of `inner` in one call. The rows of a copy are neighbours."""

    copies: int

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        states = x.unflatten(0, (self.copies, -1))
        estimates = self.inner.at_levels(states, [level] * self.copies)
        return Estimate(*map(torch.cat, zip(*estimates, strict=True)))

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        return [self(x, level) for x, level in zip(states, levels, strict=True)]


@dataclass(frozen=True, eq=False)
class Rollout:
    """Runs over one grid with drawn coefficients: R runs of N steps."""

    times: Tensor  # (N, 2)
    used: Tensor  # (N, COUNT) of bool, the coefficients that a step has
    chosen: Tensor  # (R, N, COUNT) indices of values
    log_probability: Tensor  # (R, N), of the coefficients when they were drawn
    advantage: Tensor  # (R,)


def train(
    batches: Sequence[Batch],
    references: Sequence[Tensor],
    grids: Sequence[Grid],
    plan: Plan | None = None,
    seed: int = 0,
    watch: Watch = unwatched,
    checkpoint: Path | None = None,
) -> ConsistencyPolicy:
    """Train a policy to end runs over these falling grids near the references (B, ...) of the batches.

    Gradients must be enabled; the network needs none. Calls `watch` with the number of finished iterations and their
    total. The same seed gives the same policy. With a `checkpoint`, written after every iteration, a stopped training
    resumes. Raises UsageError for a checkpoint that is damaged or of other settings.
    """
    plan = plan or Plan()
    generator = torch.Generator().manual_seed(seed)
    policy = _new_policy(seed)
    optimizer = torch.optim.AdamW(policy.parameters(), plan.rate, weight_decay=DECAY)
    training, settings = PolicyTraining(policy, optimizer, generator), _settings(plan, seed, grids, references)
    if checkpoint is not None:
        training.resume(checkpoint, settings)
    began = time.monotonic() - training.seconds
    while training.done < plan.iterations and training.seconds < 60 * plan.minutes:
        grid = grids[int(torch.randint(len(grids), (), generator=generator))]
        batch = int(torch.randint(len(batches), (), generator=generator))
        rollout = roll_out(policy, batches[batch], references[batch], grid, plan.copies, generator)
        for _ in range(plan.epochs if len(grid) > 2 else 0):  # a single step has no coefficients
            _descend(optimizer, list(policy.parameters()), loss(policy, rollout))
        training.done, training.seconds = training.done + 1, time.monotonic() - began
        if checkpoint is not None:
            training.save(checkpoint, settings)
        watch(training.done, plan.iterations)
    return policy.requires_grad_(False)


def _settings(plan: Plan, seed: int, grids: Sequence[Grid], references: Sequence[Tensor]) -> str:
    """Name everything but the network that a training depends on; its time limit may change."""
    levels = [[level.t for level in grid] for grid in grids]
    return repr((replace(plan, minutes=inf), seed, levels, [tuple(each.shape) for each in references]))


def _new_policy(seed: int) -> ConsistencyPolicy:
    """Return an untrained policy whose hidden layers depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ConsistencyPolicy()


def roll_out(
    policy: ConsistencyPolicy, batch: Batch, reference: Tensor, grid: Grid, copies: int, generator: torch.Generator
) -> Rollout:
    """Run `copies` copies of every start of a batch, each with coefficients of its own."""
    f, x = batch
    rows, steps = copies * len(x), steps_of(grid)
    times = times_of(steps)
    used = torch.arange(1, len(steps) + 1)[:, None] > torch.arange(1, COUNT + 1)  # (N, COUNT)
    odds = policy(times).detach().softmax(-1)  # (N, COUNT, VALUES)
    chosen = torch.multinomial(odds.flatten(0, 1), rows, replacement=True, generator=generator)  # (N COUNT, R)
    chosen = chosen.mT.unflatten(1, used.shape)  # (R, N, COUNT)
    end = _ends(policy, Copies(f, copies), x.repeat(copies, *[1] * (x.ndim - 1)), grid, chosen)
    reward = -distance(end, reference.repeat(copies, *[1] * (x.ndim - 1))).log()
    advantage = advantages(reward.unflatten(0, (copies, -1))).flatten()
    return Rollout(times, used, chosen, _log_probability(policy(times).detach(), chosen, used), advantage)


def _ends(policy: ConsistencyPolicy, f: Denoiser, x: Tensor, grid: Grid, chosen: Tensor) -> Tensor:
    """Return the ends (R, ...) of runs whose coefficients are the `chosen` values (R, N, COUNT)."""
    values = policy.values.expand(*chosen.shape, -1).gather(-1, chosen[..., None])[..., 0].to(x)  # (R, N, COUNT)
    coefficients = [[row_values(column, x) for column in step.unbind(1)] for step in values.unbind(1)]
    return integrate(f, ConsistencySolver(lambda _: coefficients), x, grid).x


def distance(end: Tensor, reference: Tensor) -> Tensor:
    """Return the mean squared distance (R,), float64 on the CPU. A run that diverges counts as very far."""
    squares = (end - reference).double().square().flatten(1).mean(1).cpu()
    return squares.nan_to_num(1 / SMALLEST).clamp(SMALLEST, 1 / SMALLEST)


def advantages(rewards: Tensor) -> Tensor:
    """Normalize rewards (copies, B) over the copies of each start, times ADVANTAGE."""
    deviation = rewards.std(0, correction=0)
    return (ADVANTAGE * (rewards - rewards.mean(0)) / (deviation + SMALLEST)).float()


def _log_probability(logits: Tensor, chosen: Tensor, used: Tensor) -> Tensor:
    """Return the logarithm of the probability (R, N) of the coefficients that the steps have."""
    each = logits.log_softmax(-1).expand(*chosen.shape, -1).gather(-1, chosen[..., None])[..., 0]  # (R, N, COUNT)
    whole: Tensor = (each * used).sum(-1)
    return whole


def loss(policy: ConsistencyPolicy, rollout: Rollout) -> Tensor:
    """Return PPO's clipped loss with a bonus for entropy."""
    used = rollout.used
    logits: Tensor = policy(rollout.times)
    ratio = (_log_probability(logits, rollout.chosen, used) - rollout.log_probability).exp()  # (R, N)
    drawn, advantage = used[:, 0], rollout.advantage[:, None]
    gain = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)[:, drawn].mean()
    odds = logits.log_softmax(-1)
    entropy = -(odds.exp() * odds).sum(-1)[used].mean() / log(VALUES)
    return -gain - ENTROPY * entropy


def _descend(optimizer: torch.optim.Optimizer, parameters: Sequence[torch.nn.Parameter], value: Tensor) -> None:
    """Make a step of the optimizer along the gradient of `value`, whose norm is limited to NORM."""
    gradients = torch.autograd.grad(value, parameters)
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient * (NORM / norm.clamp(min=NORM))
    optimizer.step()
