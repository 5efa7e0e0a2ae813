"""Files of caches, each bound to the model, the grid, the solver and the guidance scale that it was made for.

A file is safetensors with a card in its metadata. Files may come from strangers: reading validates everything and runs
nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from fastdiff.models.acceleration.block_schedule import BlockSchedule
from fastdiff.models.acceleration.registry import Blocks, Cache, Stack, Tokens
from fastdiff.models.acceleration.rules import FirstBlock, FixedSteps, TeaCache
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid

FORMAT = 1
LARGEST = 2**31  # bytes of a file that is read
MOST = 10_000  # levels or blocks
SAME = 1e-6  # difference of levels that are the same
LONGEST = 16  # coefficients of a polynomial
DAMAGED = (  # errors of reading a file that is no cache file
    *(SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError),
    *(ArithmeticError, RuntimeError),  # such as infinity in place of a count, and types without arithmetic
)


@dataclass(frozen=True)
class CachedRuns:
    """The runs that a cache was made for."""

    model: str  # its name when the file was made
    fingerprint: str  # of its network, `fastdiff.models.fingerprint`
    solver: str  # name in `fastdiff.solvers.registry`
    guidance: float
    levels: tuple[tuple[float, float], ...]  # alpha and sigma, in the order of the run


def runs_of(model: str, fingerprint: str, solver: str, guidance: float, grid: Grid) -> CachedRuns:
    """Return the description of runs of `solver`, by name, over a grid."""
    return CachedRuns(model, fingerprint, solver, guidance, tuple((level.alpha, level.sigma) for level in grid))


@dataclass(frozen=True, eq=False)
class CacheFile:
    """Content of a cache file."""

    cache: Cache
    runs: CachedRuns
    changes: Tensor  # (L, N) of what each block adds, by step, in the calibration
    card: Mapping[str, Any] = field(default_factory=dict)  # how the file was made, and measured errors

    def save(self, path: Path) -> None:
        """Write the file. The same content gives the same bytes."""
        from safetensors.torch import save_file

        kind, settings, tensors = _content(self.cache)
        runs = {**vars(self.runs), "levels": [list(level) for level in self.runs.levels]}
        header = {"format": FORMAT, "kind": kind, "settings": settings, "runs": runs, "card": dict(self.card)}
        tensors = {
            name: value.detach().cpu().contiguous() for name, value in (tensors | {"changes": self.changes}).items()
        }
        save_file(tensors, path, {"fastdiff": json.dumps(header, sort_keys=True)})

    def for_runs(self, runs: CachedRuns) -> Cache:
        """Return the cache. Raises UsageError if it was made for other runs."""
        mine = self.runs
        if runs.fingerprint != mine.fingerprint:
            raise UsageError(
                f"the cache was made for {mine.model} (network {mine.fingerprint[:12]}), and this network is "
                f"{runs.fingerprint[:12]}: calibrate this one"
            )
        if runs.guidance != mine.guidance:
            raise UsageError(f"the cache was made for guidance {mine.guidance:g}, and this is {runs.guidance:g}")
        if runs.solver != mine.solver:
            raise UsageError(f"the cache was made for {mine.solver}, and this is {runs.solver}")
        if len(runs.levels) != len(mine.levels):
            raise UsageError(f"the cache was made for {len(mine.levels) - 1} steps, not {len(runs.levels) - 1}")
        if not torch.allclose(_tensor(runs.levels), _tensor(mine.levels), rtol=SAME, atol=SAME):
            raise UsageError("the cache was made for other noise levels: calibrate on this grid")
        return self.cache


def read_cache_file(path: Path) -> CacheFile:
    """Read the cache file at `path`. Raises UsageError for any other file, and for a newer format."""
    from safetensors import safe_open

    if not path.is_file() or path.stat().st_size > LARGEST:
        raise UsageError(f"{path} is not a cache file of at most {LARGEST // 2**20} MiB")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})["fastdiff"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if (version := header["format"]) != FORMAT:
            raise UsageError(f"{path} is a cache file of format {version}: this version reads format {FORMAT}")
        runs = _runs(header["runs"])
        changes = tensors.pop("changes")
        if changes.ndim != 2 or changes.shape[1] != len(runs.levels) - 1 or len(changes) > MOST:
            raise ValueError("changes")
        if not changes.isfinite().all():
            raise ValueError("changes")
        cache = _cache(header["kind"], header["settings"], tensors, changes.shape)
        return CacheFile(cache, runs, changes, dict(header["card"]))
    except DAMAGED as error:
        raise UsageError(f"{path} is not a cache file, or it is damaged") from error


def _content(cache: Cache) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Return the kind of a cache, its settings and its tensors."""
    if isinstance(cache, Blocks):
        schedule = cache.schedule
        adjustment = {"scales": schedule.scales, "shifts": schedule.shifts}
        tensors = {name: value for name, value in adjustment.items() if value is not None}
        return "blocks", {"shares": list(schedule.shares)}, {"computed": torch.tensor(schedule.computed), **tensors}
    if isinstance(cache, Tokens):
        return "tokens", vars(cache), {}
    if not isinstance(cache, Stack):
        raise UsageError(f"a {type(cache).__name__} in a file: files hold the caches of CACHES")
    rule, settings = cache.rule, {"order": cache.order}
    if isinstance(rule, FixedSteps):
        return "steps", settings | {"steps": sorted(rule.steps)}, {}
    if isinstance(rule, TeaCache):
        return "teacache", settings | {"threshold": rule.threshold, "polynomial": list(rule.polynomial)}, {}
    assert isinstance(rule, FirstBlock)
    return "first-block", settings | {"threshold": rule.threshold}, {}


def _cache(kind: str, settings: Mapping[str, Any], tensors: Mapping[str, Tensor], shape: torch.Size) -> Cache:
    """Return the cache of a file. Raises ValueError if it does not fit `shape`, blocks and steps."""
    if kind == "blocks":
        return Blocks(_schedule(settings, tensors, shape))
    if kind == "tokens":
        return _tokens(_finite(settings["share"]), int(settings["longest"]), shape[1])
    order = int(settings["order"])
    if not 0 <= order <= 2:
        raise ValueError(order)
    if kind == "steps":
        steps = frozenset(map(int, settings["steps"]))
        if not steps <= frozenset(range(shape[1])):
            raise ValueError("steps")
        return Stack(FixedSteps(steps), order)
    if kind == "teacache":
        polynomial = tuple(map(_finite, settings["polynomial"]))
        if not 1 <= len(polynomial) <= LONGEST:
            raise ValueError("polynomial")
        return Stack(TeaCache(_finite(settings["threshold"]), polynomial), order)
    if kind == "first-block":
        return Stack(FirstBlock(_finite(settings["threshold"])), order)
    raise ValueError(kind)


def _tokens(share: float, longest: int, steps: int) -> Tokens:
    if not (0 < share <= 1 and 0 <= longest <= steps):
        raise ValueError("tokens")
    return Tokens(share, longest)


def _schedule(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], shape: torch.Size) -> BlockSchedule:
    shares = tuple(map(_finite, settings["shares"]))
    computed, scales, shifts = tensors["computed"], tensors.get("scales"), tensors.get("shifts")
    if computed.dtype != torch.bool or computed.shape != shape or len(shares) != len(computed):
        raise ValueError("computed")
    for each in (scales, shifts):
        if each is not None and (each.ndim != 4 or each.shape[:2] != shape or not each.isfinite().all()):
            raise ValueError("scales and shifts")
    if (scales is None) != (shifts is None) or (
        scales is not None and shifts is not None and scales.shape != shifts.shape
    ):
        raise ValueError("scales and shifts")
    return BlockSchedule(tuple(map(tuple, computed.tolist())), shares, scales, shifts)


def _runs(header: Mapping[str, Any]) -> CachedRuns:
    levels = tuple((_finite(alpha), _finite(sigma)) for alpha, sigma in header["levels"])
    if not 2 <= len(levels) <= MOST:
        raise ValueError("levels")
    model, fingerprint, solver = (str(header[name]) for name in ("model", "fingerprint", "solver"))
    return CachedRuns(model, fingerprint, solver, _finite(header["guidance"]), levels)


def _finite(value: Any) -> float:
    if not isfinite(number := float(value)):
        raise ValueError(value)
    return number


def _tensor(levels: tuple[tuple[float, float], ...]) -> Tensor:
    return torch.tensor(levels, dtype=torch.float64)
