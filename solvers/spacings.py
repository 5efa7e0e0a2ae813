"""The grid spacings by name."""

from fastdiff.solvers.few_step_grids import few_step
from fastdiff.solvers.grids import (
    Spacing,
    beta,
    karras,
    leading,
    linspace,
    log_snr,
    time_quadratic,
    time_uniform,
    trailing,
)

SPACINGS: dict[str, Spacing] = {
    "time-uniform": time_uniform,
    "time-quadratic": time_quadratic,
    "log-snr": log_snr,
    "exponential": log_snr,  # the name that diffusers and k-diffusion give the same levels
    "karras": karras,
    "beta": beta,
    "trailing": trailing,
    "leading": leading,
    "linspace": linspace,
    "few-step": few_step,  # of five, six or eight steps
}
