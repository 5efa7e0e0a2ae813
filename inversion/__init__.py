"""Inversion: the noise from which a solver samples given pictures. `__init__.pyi` lists the public names."""

from fastdiff.solvers.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
