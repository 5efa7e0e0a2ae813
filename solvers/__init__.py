"""Solvers of diffusion models: the contract, noise schedules, grids, every solver. `__init__.pyi` lists the names."""

from fastdiff.solvers.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
