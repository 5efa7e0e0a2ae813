"""Euler's rule in sigma / alpha (Karras et al. 2022, arXiv 2206.00364, algorithm 1 without its second order).

d(x / alpha) / d(sigma / alpha) is the noise estimate itself, so one Euler step from t to u is
x_u = alpha_u (x_t / alpha_t + (kappa_u - kappa_t) eps), which is alpha_u x0 + sigma_u eps: DDIM's update to the letter.
On the straight paths of a flow, Euler's rule in time is the same again.
"""

from fastdiff.solvers.ddim import DDIM as Euler

__all__ = ["Euler"]
