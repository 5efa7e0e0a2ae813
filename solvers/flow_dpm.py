"""Flow-DPM-Solver (Xie et al. 2024, SANA, arXiv 2410.10629): DPM-Solver++(2M) on a shifted flow schedule.

The `Flow` schedule supplies alpha = 1 - t and sigma = t, and `Estimate` the data view of a velocity: nothing is left
that the solver itself would have to do differently.
"""

from fastdiff.solvers.dpmpp_2m import dpmpp_2m as flow_dpm

__all__ = ["flow_dpm"]
