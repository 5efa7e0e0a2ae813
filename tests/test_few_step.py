"""The published few-step grids, and how their solvers read them."""

import pytest
from problems import DISCRETE, SCHEDULES

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.few_step_grids import few_step
from fastdiff.solvers.grids import grid

PUBLISHED = {  # steps: labels, sigma / alpha
    5: (
        [999, 772.512, 556.684, 354.186, 169.975, 18.319],
        [14.61464, 4.51885, 1.96154, 1.00098, 0.50151, 0.13200],
    ),
    6: (
        [999, 809.575, 627.305, 453.54, 290.383, 141.71, 18.319],
        [14.61464, 5.34094, 2.52301, 1.3877, 0.80521, 0.43741, 0.13200],
    ),
    8: (
        [999, 857.317, 719.445, 585.859, 457.194, 334.348, 218.703, 112.729, 22.677],
        [14.61464, 6.71213, 3.60755, 2.17235, 1.40447, 0.93661, 0.61687, 0.37253, 0.14715],
    ),
}


@pytest.mark.parametrize("steps", PUBLISHED)
def test_published_grids(steps):
    """The schedule reads the same noise at a label up to 0.001 away, which is linear in log(alpha) between knots."""
    labels, edm_sigmas = PUBLISHED[steps]
    levels = grid(few_step, DISCRETE, steps)
    assert [level.edm_sigma for level in levels] == pytest.approx(edm_sigmas, abs=1e-5)
    assert [DISCRETE.timestep(level) for level in levels] == pytest.approx(labels, abs=2e-3)


@pytest.mark.parametrize(
    ("schedule", "steps", "message"),
    [("discrete", 7, "7 steps: give 5, 6, 8"), ("flow", 5, "only a DiscreteVP"), ("linear", 8, "only a DiscreteVP")],
)
def test_other_grids_are_refused(schedule, steps, message):
    with pytest.raises(UsageError, match=message):
        grid(few_step, SCHEDULES[schedule], steps)
