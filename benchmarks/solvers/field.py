"""Who takes part: every deterministic solver of ours, and the classes of diffusers, each with all its ways."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from benchmarks.solvers import theirs
from benchmarks.solvers.course import Course
from benchmarks.solvers.theirs import Theirs
from benchmarks.solvers.ways import FewStep, Ours, Way
from fastdiff.apps.tuning.search import candidate_configs, grids
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.sampler_config import SamplerConfig
from fastdiff.solvers.schedule import DiscreteVP, Schedule

BASELINES = ("dpmpp-2m", "unipc", "diffusers DPMSolverMultistep 2", "diffusers UniPC 2")
NOISELESS = {"sa-solver": {"tau": 0.0}}  # options with which stochastic solvers are deterministic


@dataclass(frozen=True)
class Entrant:
    """A solver on the way that did best on the samples for fitting, with its mean error there."""

    name: str
    way: Way
    fitted: float


@dataclass(frozen=True)
class Field:
    """Solvers by name, each with its ways. The probes try all grids, the others the best of those."""

    ways: Mapping[str, Sequence[Way]]
    probes: Sequence[str]

    def chosen(self, few: Course, calls: int, grids: int) -> tuple[list[Entrant], list[str]]:
        """Those that run in so many calls, each on its best way, and so many of the best grids."""
        probed = {way: mean(few, way, calls) for name in self.probes for way in self.ways[name]}
        best = list(dict.fromkeys(way.placed for way in sorted(probed, key=probed.__getitem__)))[:grids]
        entrants = []
        for name, ways in self.ways.items():
            if name in self.probes:
                tried = {way: probed[way] for way in ways}
            else:
                placed = [way for way in ways if way.placed in best] or ways
                tried = {way: mean(few, way, calls) for way in placed}
            way = min(tried, key=tried.__getitem__)
            if tried[way] < inf:
                entrants.append(Entrant(name, way, tried[way]))
        return entrants, best


def mean(few: Course, way: Way, calls: int) -> float:
    """Of the errors on the first batch, inf where the way does not run."""
    errors = few.errors(way, calls, batches=1)
    return inf if errors is None else errors.mean().item()


def ours(schedule: Schedule) -> Field:
    """The registry, each solver once, in all orders and on all grids."""
    ways: dict[str, list[Way]] = {}
    for placed in grids(schedule):
        for recipe in candidate_configs(placed):
            ways.setdefault(recipe.solver, []).append(Ours(recipe))
        for name, options in NOISELESS.items():
            if name in SOLVERS:
                ways.setdefault(name, []).append(Ours(SamplerConfig(name, placed, options)))
    if isinstance(schedule, DiscreteVP):
        ways["few-step"] = [FewStep()]
    return Field(ways, BASELINES[:2])


def diffusers(schedule: Schedule) -> Field | None:
    """None on schedules that are not a table: their flow classes are Euler and Heun."""
    if not isinstance(schedule, DiscreteVP):
        return None
    ways = {
        f"diffusers {name}": [Theirs(name, placed) for placed in theirs.placements(name)] for name in theirs.CLASSES
    }
    return Field(ways, BASELINES[2:4])
