"""Adaptive DPM-Solver: published values, accuracy as asked for, and items that do not know of each other."""

from dataclasses import dataclass

import pytest
import torch
from known import known
from problems import MIXTURE, MIXTURE_END, MIXTURE_START, SCHEDULES, Gaussian, random_state, start

from fastdiff.solvers.adaptive import Adaptive
from fastdiff.solvers.denoiser import CountingDenoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.exponential import EPS, X0
from fastdiff.solvers.schedule import CLEAN_LEVEL, LinearVP

TOP, BOTTOM = (MIXTURE.schedule.level(t) for t in (1.0, 1e-3))
FORMS = pytest.mark.parametrize("form", [X0, EPS])


@pytest.mark.parametrize(
    ("solver", "value", "calls"),
    [
        (Adaptive(2, EPS), 0.93436274870941, 68),
        (Adaptive(2), 0.89839300887818, 24),
        (Adaptive(3, EPS), 0.92744631046634, 27),
        (Adaptive(3), 0.91565603201700, 33),
        (Adaptive(2, X0, 1e-4, 1e-3), 0.91798380829527, 104),
        (Adaptive(3, X0, 1e-4, 1e-3), 0.91855282734649, 72),
        (Adaptive(3, EPS, 1e-4, 1e-3), 0.91900972318642, 81),
    ],
)
def test_golden_values(solver, value, calls):
    """The published count asks once more, and gets the same answer, where a step is tried again."""
    f = CountingDenoiser(MIXTURE)
    end = solver(f, start(), TOP, BOTTOM)
    assert end.x.item() == pytest.approx(value, abs=1e-10)
    assert end.rejected[0] > 0
    assert end.nfe[0] + end.rejected[0] == calls
    assert f.tally.nfe == end.nfe[0]


@FORMS
@pytest.mark.parametrize("order", [2, 3])
def test_a_smaller_allowance_buys_accuracy_in_both_directions(order, form):
    for begin, end, t, u in ((MIXTURE_START, MIXTURE_END, TOP, BOTTOM), (MIXTURE_END, MIXTURE_START, BOTTOM, TOP)):
        runs = [Adaptive(order, form, a, a)(MIXTURE, start(begin), t, u) for a in (1e-2, 1e-3, 1e-4)]
        errors = [abs(run.x.item() - end) for run in runs]
        assert errors[2] < 2e-3 and errors[2] < errors[0] / 5
        assert runs[0].nfe < runs[1].nfe < runs[2].nfe


@FORMS
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_is_solved(schedule, form):
    f = Gaussian(SCHEDULES[schedule])
    top, bottom = (f.schedule.level(time) for time in (f.schedule.start, f.schedule.end))
    noisy = random_state(4)
    clean = f.carry(noisy, top, bottom)
    solver = Adaptive(3, form, 1e-5, 1e-5)
    torch.testing.assert_close(solver(f, noisy, top, bottom).x, clean, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(solver(f, clean, bottom, top).x, noisy, rtol=2e-3, atol=2e-3)


def test_an_item_is_solved_alike_alone_and_in_a_batch():
    x = random_state(3, 2, 4) * torch.tensor([1.0, 0.01, 3.0]).reshape(3, 1, 1)
    batch = Adaptive(2)(MIXTURE, x, TOP, BOTTOM)
    assert len(set(batch.nfe)) > 1
    for item in range(3):
        alone = Adaptive(2)(MIXTURE, x[item : item + 1], TOP, BOTTOM)
        assert torch.equal(alone.x[0], batch.x[item])
        assert (alone.nfe, alone.rejected) == (batch.nfe[item : item + 1], batch.rejected[item : item + 1])


def test_dtype_is_kept_and_gradients_flow():
    assert Adaptive()(MIXTURE, random_state(2, dtype=torch.float32), TOP, BOTTOM).x.dtype == torch.float32
    x = start().requires_grad_()
    Adaptive()(MIXTURE, x, TOP, BOTTOM).x.sum().backward()
    assert torch.isfinite(known(x.grad)).all() and known(x.grad).abs().max() > 0


def test_a_state_without_any_error_takes_few_steps():
    """With x0 known everywhere the data view makes no error, and the second step ends the run."""

    @dataclass(frozen=True)
    class Point(Gaussian):
        variance: float = 0.0

    end = Adaptive(2)(Point(LinearVP()), start(), TOP, BOTTOM)
    assert end.nfe == (4,) and end.rejected == (0,)


@dataclass(frozen=True)
class Broken(Gaussian):
    """Answers with NaN below a level."""

    def __call__(self, x, level):
        return super().__call__(x * float("nan") if level.t < 0.5 else x, level)


def test_answers_that_are_not_finite_end_the_run():
    with pytest.raises(UsageError, match=r"error at t = .* is nan"):
        Adaptive()(Broken(LinearVP()), start(), TOP, BOTTOM)


def test_an_allowance_below_rounding_ends_the_run():
    with pytest.raises(UsageError, match="allow more"):
        Adaptive(2, absolute=1e-300, relative=0.0)(MIXTURE, start(), TOP, BOTTOM)


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        (lambda: Adaptive(1), "give 2 or 3"),
        (lambda: Adaptive(absolute=0.0), "more than 0"),
        (lambda: Adaptive(relative=-1.0), "0 or more"),
        (lambda: Adaptive()(MIXTURE, start(), TOP, CLEAN_LEVEL), "both noise and signal"),
        (lambda: Adaptive()(MIXTURE, start(), TOP, TOP), "two levels"),
    ],
)
def test_what_cannot_be_solved_is_refused(solve, message):
    with pytest.raises(UsageError, match=message):
        solve()
