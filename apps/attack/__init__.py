"""Robustness tests of image classifiers. `__init__.pyi` lists the public names."""

from fastdiff.solvers.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
