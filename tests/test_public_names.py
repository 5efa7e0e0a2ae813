"""Public names: what packages export, when it is imported, and what importing the solvers needs."""

import subprocess
import sys
from importlib import import_module
from pkgutil import iter_modules

import pytest

PACKAGES = ("fastdiff.solvers", "fastdiff.inversion", "fastdiff.models", "fastdiff.apps.attack")
BLOCK = """
import sys
from importlib.metadata import packages_distributions, requires
from re import match

needed = {"torch", "numpy"}  # with what they depend on themselves
for name in list(needed):
    needed |= {match(r"[\\w.-]+", line)[0] for line in requires(name) or () if "extra ==" not in line}
needed = {name.lower().replace("_", "-") for name in needed}
installed = packages_distributions()

class Blocker:
    def find_spec(self, name, path=None, target=None):
        owners = {owner.lower().replace("_", "-") for owner in installed.get(name, ())}
        if owners - {"fastdiff-toolkit"} and not owners & needed:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_none_is_a_module(package: str) -> None:
    """A name of a module in its package would mean the one or the other, by what was imported before."""
    module = import_module(package)
    assert module.__all__ == dir(module) and len(module.__all__) > 3
    assert all(getattr(module, name) is not None for name in module.__all__)
    assert not set(module.__all__) & {info.name for info in iter_modules(module.__path__)}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


def test_packages_import_nothing_until_a_name_is_used() -> None:
    run(f"import sys, {', '.join(PACKAGES)}\nassert not {{'torch', 'numpy', 'diffusers'}} & set(sys.modules)")


def test_solvers_need_torch_and_numpy_alone() -> None:
    code = "import fastdiff.solvers as s\nfor name in s.__all__: getattr(s, name)\n"
    code += "f = s.Gaussian(s.LinearVP())\n"
    code += "s.integrate(f, s.dpmpp_2m(), __import__('torch').ones(1, 2), s.grid(s.karras, f.schedule, 4))\n"
    run(BLOCK + code)


def test_a_beta_grid_needs_scipy() -> None:
    code = (
        "import fastdiff.solvers as s\ntry: s.grid(s.beta, s.LinearVP(), 4)\nexcept ImportError as error: print(error)"
    )
    assert "scipy" in run(BLOCK + code)
