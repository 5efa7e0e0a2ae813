"""Diffusion models behind one contract, and what reads their folders. `__init__.pyi` lists the public names."""

from fastdiff.solvers.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
