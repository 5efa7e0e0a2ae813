"""Sampling problems in closed form: samples of one number, or of a few, whose network is an oracle."""

from pathlib import Path

from fastdiff.models.sampling_problem import SamplingProblem
from fastdiff.solvers.closed_form import Gaussian, Mixture
from fastdiff.solvers.schedule import LinearVP

SCHEDULE = LinearVP()


def oracle(f: Gaussian | Mixture, source: Path) -> SamplingProblem:
    """Samples of four numbers; `source` stands for the file of the model."""
    source.touch()
    return SamplingProblem(
        name="oracle",
        source=source,
        fingerprint="0" * 64,
        schedule=f.schedule,
        clean=False,
        guidance=1.0,
        shape=(4, 1, 1),
        description="nothing",
        conditions="",
        device="cpu",
        bind=lambda choices, held: f,
    )
