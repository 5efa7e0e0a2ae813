"""Imports of single classes of diffusers, without what its packages bring along.

`diffusers.models.transformers` imports every transformer that diffusers has, and decorators import the compiler of
torch: three quarters of the time that one network takes to import.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

PACKAGES = ("diffusers.hooks", *(f"diffusers.models.{name}" for name in ("autoencoders", "transformers", "unets")))
COMPILER = "torch._dynamo"
NEEDED_LATER = "diffusers.hooks.group_offloading"  # which networks of diffusers import when they are used
Function = TypeVar("Function")


def import_class(path: str) -> Any:
    """The class, or any other name of a module, that "module:Class" names.

    Modules of PACKAGES are imported without the others of their package. Where torch._dynamo was not imported before,
    diffusers does not tell it which blocks to compile as units: import it first to compile a network.
    """
    module, _, name = path.partition(":")
    try:
        with _alone():
            found = getattr(importlib.import_module(module), name)
            if module.startswith("diffusers.models."):
                importlib.import_module(NEEDED_LATER)
            return found
    except ImportError:  # a version that takes names from the packages themselves
        return getattr(importlib.import_module(module), name)


@contextmanager
def _alone() -> Iterator[None]:
    """Stand-ins for PACKAGES and for the compiler, of those that are not imported yet; they are gone afterwards."""
    absent = [name for name in (COMPILER, *PACKAGES) if name not in sys.modules]
    try:
        for name in absent:
            sys.modules[name] = _no_compiler() if name == COMPILER else _empty_package(name)
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


def _no_compiler() -> ModuleType:
    """The decorators of torch._dynamo that diffusers uses, which do nothing."""

    def allow_in_graph(function: Function) -> Function:
        return function

    def disable(function: Function | None = None, *unused: Any, **settings: Any) -> Function | Callable[[Any], Any]:
        return allow_in_graph if function is None else function

    compiler: Any = ModuleType(COMPILER)
    compiler.allow_in_graph, compiler.disable = allow_in_graph, disable
    return compiler


def _empty_package(name: str) -> ModuleType:
    spec = importlib.util.find_spec(name)
    package = ModuleType(name)
    package.__spec__ = spec
    package.__path__ = list(spec.submodule_search_locations or ()) if spec else []
    return package
