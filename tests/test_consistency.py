"""ConsistencySolver: known solvers among its coefficients, its policy, PPO, and coefficients by gradients."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from problems import MIXTURE, Gaussian, random_state
from torch import Tensor, nn

from fastdiff.solvers.adams_bashforth import ipndm
from fastdiff.solvers.consistency import COUNT, CoefficientTable, ConsistencySolver
from fastdiff.solvers.consistency_policy import RANGES, VALUES, ConsistencyPolicy
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import SingleLevelDenoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import Estimate, from_eps
from fastdiff.solvers.grids import Grid, grid, log_snr, time_uniform
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.schedule import Flow, Level, LinearVP, Schedule
from fastdiff.solvers.tuning import consistency, consistency_gradients
from fastdiff.solvers.tuning.teacher import Watch
from fastdiff.solvers.unipc import UniPC

LEVELS = grid(log_snr, MIXTURE.schedule, 5, clean=True)
ALL_ZERO = CoefficientTable([[0.0] * COUNT] * 5)


def starts(count: int, seed: int) -> Tensor:
    """States (count, 64) at the noisiest level."""
    noise = torch.randn(count, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return MIXTURE.schedule.level(MIXTURE.schedule.start).sigma * noise


def reference(x: Tensor) -> Tensor:
    return integrate(MIXTURE, UniPC(3), x, grid(log_snr, MIXTURE.schedule, 200, clean=True)).x


BATCHES = [(MIXTURE, starts(4, seed)) for seed in range(4)]
REFERENCES = [reference(x) for _, x in BATCHES]
UNSEEN = starts(32, 99)


def reward(solver: Solver[Any], levels: Grid = LEVELS) -> float:
    """The mean reward on unseen starts."""
    return -consistency.distance(integrate(MIXTURE, solver, UNSEEN, levels).x, reference(UNSEEN)).log().mean().item()


class ConstantNoise(SingleLevelDenoiser):
    """A network that sees the same noise in every state."""

    schedule: Schedule = LinearVP()

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        return from_eps(torch.full_like(x, 0.7), x, level)

    def fresh(self) -> "ConstantNoise":
        return self


# --- the solver


@pytest.mark.parametrize("schedule", [LinearVP(), Flow(start=1.0)])
def test_coefficients_of_zero_are_ddim(schedule: Schedule) -> None:
    f, levels = Gaussian(schedule), grid(time_uniform, schedule, 5, clean=True)
    x = random_state(3, 4)
    assert torch.equal(integrate(f, ConsistencySolver(ALL_ZERO), x, levels).x, integrate(f, DDIM(), x, levels).x)


def test_coefficients_of_adams_and_bashforth_are_plms() -> None:
    levels, x = grid(log_snr, MIXTURE.schedule, 6), random_state(3, 4)
    two_steps = ConsistencySolver(CoefficientTable([[0.5, -0.5, 0.0]] * 6))
    plms = integrate(MIXTURE, ipndm(2, lower_final=False), x, levels).x
    torch.testing.assert_close(integrate(MIXTURE, two_steps, x, levels).x, plms, rtol=0, atol=1e-12)


def test_the_weights_of_any_coefficients_sum_to_one() -> None:
    """So the run is exact for a network whose noise estimate does not change."""
    levels, x = grid(log_snr, LinearVP(), 6), random_state(3, 4)
    any_table = ConsistencySolver(CoefficientTable(random_state(6, COUNT).tolist()))
    ddim = integrate(ConstantNoise(), DDIM(), x, levels).x
    torch.testing.assert_close(integrate(ConstantNoise(), any_table, x, levels).x, ddim, rtol=0, atol=1e-12)


def test_a_step_has_as_many_coefficients_as_earlier_estimates() -> None:
    """A coefficient that a step does not have changes nothing, and each of the others does."""
    plain = integrate(MIXTURE, ConsistencySolver(ALL_ZERO), UNSEEN, LEVELS).x
    for step in range(5):
        for each in range(COUNT):
            rows = [[0.3 * (row == step and column == each) for column in range(COUNT)] for row in range(5)]
            end = integrate(MIXTURE, ConsistencySolver(CoefficientTable(rows)), UNSEEN, LEVELS).x
            assert torch.equal(end, plain) == (each >= step), (step, each)


def test_tables_fit_falling_grids_of_their_length() -> None:
    solver = ConsistencySolver(ALL_ZERO)
    with pytest.raises(UsageError, match="cannot invert"):
        solver.init(LEVELS[:-1][::-1])
    with pytest.raises(UsageError, match="fitted to 5 steps on a grid of 6"):
        solver.init(grid(log_snr, MIXTURE.schedule, 6))


def test_tables_are_restored() -> None:
    table = CoefficientTable(random_state(5, COUNT).tolist())
    assert CoefficientTable.from_tensors(table.tensors()).coefficients == table.coefficients
    for damaged in ({}, {"numbers": torch.zeros(5, 2)}, {"numbers": torch.full((5, COUNT), torch.inf)}):
        with pytest.raises(UsageError, match="damaged"):
            CoefficientTable.from_tensors(damaged)


# --- the policy


def test_a_new_policy_is_uniform_over_the_published_values() -> None:
    policy = ConsistencyPolicy()
    assert torch.equal(policy(torch.rand(7, 2)), torch.zeros(7, COUNT, VALUES))
    for values, (low, high) in zip(policy.values, RANGES, strict=True):
        torch.testing.assert_close(values, torch.linspace(low, high, VALUES))


def test_the_most_probable_values_are_taken_on_any_falling_grid() -> None:
    policy = ConsistencyPolicy()
    last = policy.network[-1]
    assert isinstance(last, nn.Linear)
    preferred = torch.zeros(COUNT, VALUES)
    preferred[0, 3], preferred[1, 10], preferred[2, 0] = 1, 1, 1
    last.bias = nn.Parameter(preferred.flatten())
    for steps in (1, 5, 8):
        rows = torch.tensor(policy.coefficients(grid(log_snr, MIXTURE.schedule, steps, clean=True)))
        torch.testing.assert_close(rows, torch.tensor([[0.6, 0.0, -1.0]]).expand(steps, -1))
    with pytest.raises(UsageError, match="cannot invert"):
        ConsistencySolver(policy.coefficients).init(LEVELS[:-1][::-1])


def test_policies_are_restored() -> None:
    policy = consistency.train(BATCHES, REFERENCES, [LEVELS], consistency.Plan(iterations=2))
    weights = policy.state_dict()
    assert ConsistencyPolicy.from_tensors(weights).coefficients(LEVELS) == policy.coefficients(LEVELS)
    name = next(iter(weights))
    for damaged in ({}, weights | {name: torch.zeros(3)}, weights | {name: torch.full_like(weights[name], torch.nan)}):
        with pytest.raises(UsageError, match="damaged"):
            ConsistencyPolicy.from_tensors(damaged)


# --- PPO


def rolled_out(policy: ConsistencyPolicy, levels: Grid = LEVELS, copies: int = 8) -> consistency.Rollout:
    return consistency.roll_out(policy, BATCHES[0], REFERENCES[0], levels, copies, torch.Generator().manual_seed(0))


def test_copies_are_evaluated_in_one_call() -> None:
    x = starts(6, 7)
    got, expected = consistency.Copies(MIXTURE, 3)(x, LEVELS[2]), MIXTURE(x, LEVELS[2])
    assert all(map(torch.equal, got, expected))


def test_the_baseline_is_that_of_the_copies_of_one_start() -> None:
    shifted = random_state(8, 4) + torch.tensor([0.0, 10.0, -50.0, 3.0])
    found = consistency.advantages(shifted)
    torch.testing.assert_close(found.mean(0), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(found, consistency.advantages(3 * random_state(8, 4)), rtol=0, atol=1e-3)
    assert torch.equal(found.argmax(0), random_state(8, 4).argmax(0))
    assert torch.equal(consistency.advantages(torch.ones(8, 4)), torch.zeros(8, 4))


def test_a_policy_that_has_not_changed_gains_nothing() -> None:
    """All ratios are 1 and the advantages sum to 0, so that the loss is that of the entropy, which is 1 at first."""
    policy = ConsistencyPolicy()
    rollout = rolled_out(policy)
    assert consistency.loss(policy, rollout).item() == pytest.approx(-consistency.ENTROPY, abs=1e-5)


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_coefficients_that_no_step_has_get_no_gradient(steps: int) -> None:
    policy, levels = ConsistencyPolicy(), grid(log_snr, MIXTURE.schedule, steps, clean=True)
    last = policy.network[-1]
    assert isinstance(last, nn.Linear)
    (gradient,) = torch.autograd.grad(consistency.loss(policy, rolled_out(policy, levels)), [last.bias])
    touched = gradient.unflatten(0, (COUNT, VALUES)).abs().sum(1) > 0
    assert touched.tolist() == [steps > each + 1 for each in range(COUNT)]


def test_a_trained_policy_is_nearer_than_ddim_and_adams_bashforth() -> None:
    levels = {steps: grid(log_snr, MIXTURE.schedule, steps, clean=True) for steps in (5, 8)}
    seen: list[tuple[int, int]] = []
    policy = consistency.train(BATCHES, REFERENCES, list(levels.values()), watch=lambda *now: seen.append(now))
    assert seen[-1][0] == seen[-1][1] and all(b[0] == a[0] + 1 for a, b in pairwise(seen))
    for each in levels.values():
        rivals = reward(DDIM(), each), reward(ipndm(2), each)
        assert reward(ConsistencySolver(policy.coefficients), each) > max(rivals) + 0.5


def test_the_same_seed_trains_the_same_policy() -> None:
    plan = consistency.Plan(iterations=3)
    first, second, other = (consistency.train(BATCHES, REFERENCES, [LEVELS], plan, seed) for seed in (0, 0, 1))
    pairs = zip(first.parameters(), second.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) and not torch.equal(a, c) for a, b, c in pairs)


class Stopped(Exception):
    pass


def stop_after(iterations: int) -> Watch:
    def watch(done: int, total: int) -> None:
        if done == iterations:
            raise Stopped

    return watch


def test_a_stopped_training_resumes_and_ends_the_same(tmp_path: Path) -> None:
    plan, path, seen = consistency.Plan(iterations=5), tmp_path / "policy.state", list[int]()
    whole = consistency.train(BATCHES, REFERENCES, [LEVELS], plan)
    with pytest.raises(Stopped):
        consistency.train(BATCHES, REFERENCES, [LEVELS], plan, watch=stop_after(3), checkpoint=path)
    resumed = consistency.train(
        BATCHES, REFERENCES, [LEVELS], plan, watch=lambda done, _: seen.append(done), checkpoint=path
    )
    assert seen == [4, 5]
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))


def test_a_training_ends_after_its_minutes_over_all_runs(tmp_path: Path) -> None:
    plan, path, seen = consistency.Plan(iterations=50, minutes=1e-6), tmp_path / "policy.state", list[int]()
    for _ in range(2):
        consistency.train(BATCHES, REFERENCES, [LEVELS], plan, watch=lambda done, _: seen.append(done), checkpoint=path)
    assert seen == [1]
    longer = replace(plan, minutes=60)
    with pytest.raises(Stopped):
        consistency.train(BATCHES, REFERENCES, [LEVELS], longer, watch=stop_after(2), checkpoint=path)


def test_checkpoints_of_other_settings_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.state"
    consistency.train(BATCHES, REFERENCES, [LEVELS], consistency.Plan(iterations=1), checkpoint=path)
    for plan, seed, levels in (
        (consistency.Plan(iterations=2), 0, LEVELS),
        (consistency.Plan(iterations=1), 1, LEVELS),
        (consistency.Plan(iterations=1), 0, grid(log_snr, MIXTURE.schedule, 6, clean=True)),
    ):
        with pytest.raises(UsageError, match="with other settings: remove it"):
            consistency.train(BATCHES, REFERENCES, [levels], plan, seed, checkpoint=path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UsageError, match="is a damaged checkpoint: remove it"):
        consistency.train(BATCHES, REFERENCES, [LEVELS], consistency.Plan(iterations=1), checkpoint=path)


def test_a_single_step_has_nothing_to_learn() -> None:
    policy = consistency.train(
        BATCHES, REFERENCES, [grid(log_snr, MIXTURE.schedule, 1, clean=True)], consistency.Plan(2)
    )
    assert torch.equal(policy(torch.rand(3, 2)), torch.zeros(3, COUNT, VALUES))


# --- gradients


def test_gradients_find_coefficients_beyond_the_values_of_the_policy() -> None:
    seen: list[tuple[int, int]] = []
    table = consistency_gradients.fit(BATCHES, REFERENCES, LEVELS, lambda *now: seen.append(now))
    policy = consistency.train(BATCHES, REFERENCES, [LEVELS])
    assert reward(ConsistencySolver(table)) > reward(ConsistencySolver(policy.coefficients)) + 0.5
    assert seen[-1][0] <= seen[-1][1] == consistency_gradients.ROUNDS


def test_a_single_step_has_no_coefficients() -> None:
    levels = grid(log_snr, MIXTURE.schedule, 1, clean=True)
    assert consistency_gradients.fit(BATCHES, REFERENCES, levels).coefficients == [[0.0] * COUNT]
