"""Tunes a solver to a model for some numbers of calls, and measures on other samples whether that helps.

What is finished stays beside the output until all is: a stopped run goes on from there.
"""

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fastdiff.apps import atomic, batch, output_manifest
from fastdiff.apps.output_manifest import OutputManifest
from fastdiff.models.sampling_problem import SamplingProblem
from fastdiff.solvers.dc import DC
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grid import log_snr
from fastdiff.solvers.recipe import PLACEMENTS, Recipe
from fastdiff.solvers.solver_file import CASCADE, SHARED, SolverFile
from fastdiff.solvers.tuned import TUNED, Tensors
from fastdiff.training.tuning import dc_cascade
from fastdiff.training.tuning.fits import FITS, finest, scouted
from fastdiff.training.tuning.measure import (
    REFERENCE,
    Batch,
    Meter,
    ends,
    errors,
    reference,
    reference_recipe,
    seconds_a_row,
)
from fastdiff.training.tuning.search import FEW, ROUNDING, grids

AUTO = "auto"  # the grid on which the untuned solver does best
REFERENCES, GRIDS, SHARED_PART = 0, 1001, 1002  # indices of parts; those of results are their numbers of calls
EVEN = 2.0  # standard errors of a difference that is told to be none
CASCADED = 3  # numbers of calls from which others follow


@dataclass(frozen=True)
class Result:
    """A tuned solver, and how far held-out samples end from the reference, relative to its length."""

    calls: int
    recipe: Recipe
    base: tuple[float, ...]  # of the solver that was tuned, on the grid where it did best
    tuned: tuple[float, ...]

    @property
    def verdict(self) -> str:
        """Whether tuning helped: better, worse, or even where the difference, paired by sample, is within its noise."""
        gap = torch.tensor(self.base, dtype=torch.float64) - torch.tensor(self.tuned, dtype=torch.float64)
        if not gap.mean().abs() > EVEN * gap.std() / len(gap) ** 0.5:
            return "even"
        return "better" if gap.mean() > 0 else "worse"


@dataclass(frozen=True)
class Tuning:
    """What is tuned. `samples` are fitted to, statistics are taken on as many others, and as many again, held out,
    measure the result.

    `solver` is a name of `TUNED`, `base` what it is built around (by default its own), `grid` a name of `placement` or
    AUTO. `force` replaces files that tuning did not make.

    Raises UsageError for what does not fit together.
    """

    subject: SamplingProblem
    solver: str
    calls: tuple[int, ...]
    out: Path
    grid: str = AUTO
    base: str | None = None
    samples: int = 8
    seed: int = 0
    force: bool = False

    def __post_init__(self) -> None:
        if self.solver not in TUNED:
            raise UsageError(f"{self.solver!r} is not tuned: one of {', '.join(TUNED)}")
        if self.grid not in (AUTO, *PLACEMENTS):
            raise UsageError(f"unknown grid {self.grid!r}: {AUTO}, or one of {', '.join(PLACEMENTS)}")
        if self.samples < FEW:
            raise UsageError(f"{self.samples} samples: {FEW} or more are needed")
        inner, schedule = TUNED[self.solver].inner(**self.options), self.subject.schedule
        for calls in self.calls if self.grid != AUTO else ():
            top = Recipe(self.solver, self.grid).levels(schedule, calls, inner.evals)[0]
            if abs(top.t - schedule.start) > ROUNDING:
                raise UsageError(f"grid {self.grid} begins at t = {top.t:.3f}, below the noise of {schedule.start:.3f}")
        if self.solver == "v3":
            log_snr(schedule, 2)

    @property
    def options(self) -> dict[str, Any]:
        """Of the recipes."""
        return dict(TUNED[self.solver].options) if self.base is None else {"base": self.base}

    @property
    def placed(self) -> list[str]:
        """The grids to choose from."""
        return grids(self.subject.schedule) if self.grid == AUTO else [self.grid]

    @property
    def work(self) -> float:
        """Calls of the network times rows, about."""
        once = self.samples * FITS[self.solver].once_cost
        return self._references + once + sum(self._trials(calls) + self._result(calls) for calls in self.calls)

    @property
    def _references(self) -> float:
        return 2 * REFERENCE * self.samples

    def _trials(self, calls: int) -> float:
        """Of grids by the untuned solver, and of grids and skips by teleportation."""
        grids = len(self.placed) if self.grid == AUTO else 0
        scouted = grids + calls if FITS[self.solver].scouted else 0
        return (grids + scouted) * FEW * calls

    def _result(self, calls: int) -> float:
        return self.samples * (FITS[self.solver].cost(calls) + 2 * calls)

    def seconds(self) -> float:
        """What that takes here, about: one call is timed."""
        return self.work * seconds_a_row(list(self.subject.batches(FEW, self.seed)))

    @property
    def key(self) -> str:
        """A digest of everything that the results depend on."""
        subject = self.subject
        model = (subject.fingerprint, subject.guidance, subject.shape, subject.conditions)
        return output_manifest.digest(
            importlib.metadata.version("fastdiff-toolkit"),
            *model,
            *(self.solver, self.calls, self.grid, self.options, self.samples, self.seed),
        )


@torch.no_grad()
def run(tuning: Tuning, watch: batch.Watch = lambda now: None) -> list[Result]:
    """Tune, write the solver file, and return how each number of calls came out.

    Raises UsageError where a grid or solver does not fit the model, OutputError where `out` cannot be written or is
    another's.
    """
    source = tuning.subject.source
    manifest = OutputManifest(
        tuning.out, source, tuning.key, output_manifest.digest("tune", source.resolve()), tuning.force
    )
    if records := manifest.finished():
        return [_result(record) for record in records]
    manifest.open([tuning.out])
    return _Run(tuning, manifest, Meter(tuning.work, watch)).results()


class _Run:
    """One run, with the batches that it fits to and those held out."""

    def __init__(self, tuning: Tuning, manifest: OutputManifest, meter: Meter) -> None:
        self._tuning, self._book, self._meter = tuning, manifest, meter
        subject, count = tuning.subject, tuning.samples
        self._fitted = meter.counted(list(subject.batches(count, tuning.seed, rows=FEW)))
        self._held = meter.counted(list(subject.batches(count, tuning.seed, held=True, rows=FEW)))

    def results(self) -> list[Result]:
        exact, exact_held = self._references()
        names = self._grids(exact)
        self._shared = self._once()
        results = [self._result(calls, names[calls], exact, exact_held) for calls in self._tuning.calls]
        file = self._file(results)
        with atomic.draft(self._tuning.out) as path:
            file.save(path)
            self._book.publish({self._tuning.out: path}, [asdict(result) for result in results], final=True)
        self._meter.reach(self._meter.total)
        return results

    def _references(self) -> tuple[list[Tensor], list[Tensor]]:
        """The ends of the batches that are fitted to, and of those held out."""
        self._meter.name = "reference"
        if self._book.record(REFERENCES) is None:
            made = {f"{i}": end for i, end in enumerate(reference([*self._fitted, *self._held]))}
            self._save(made, REFERENCES)
            self._book.keep(REFERENCES, {"batches": len(made)})
        kept = self._load(REFERENCES)
        exact = [kept[f"{i}"] for i in range(len(kept))]
        return exact[: len(self._fitted)], exact[len(self._fitted) :]

    def _grids(self, exact: Sequence[Tensor]) -> dict[int, str]:
        """The grid of every number of calls; DC-Solver, whose ratios go from one to the next, has one for all."""
        tuning = self._tuning
        if tuning.grid != AUTO:
            return dict.fromkeys(tuning.calls, tuning.grid)
        self._meter.name = "grids"
        if (kept := self._book.record(GRIDS)) is None:
            table = {calls: {name: self._trial(calls, name, exact) for name in tuning.placed} for calls in tuning.calls}
            kept = {str(calls): min(means, key=means.__getitem__) for calls, means in table.items()}
            if tuning.solver == "dc":
                every = {
                    name: sum(torch.tensor([means[name] for means in table.values()]).log()) for name in tuning.placed
                }
                kept = dict.fromkeys(kept, min(every, key=every.__getitem__))
            self._book.keep(GRIDS, kept)
        return {calls: kept[str(calls)] for calls in tuning.calls}

    def _trial(self, calls: int, name: str, exact: Sequence[Tensor]) -> float:
        """The mean distance of the untuned solver; inf where the grid does not fit."""
        return _mean(lambda: self._base(calls, name, self._fitted[:1], exact[:1]))

    def _base(self, calls: int, name: str, batches: Sequence[Batch], exact: Sequence[Tensor]) -> Tensor:
        inner = TUNED[self._tuning.solver].inner(**self._tuning.options)
        levels = Recipe(self._tuning.solver, name).levels(self._tuning.subject.schedule, calls, inner.evals)
        return errors(ends(batches, inner, levels), exact)

    def _once(self) -> dict[str, Tensor]:
        """The tensors that all numbers of calls share."""
        self._meter.name = "statistics"
        if self._book.record(SHARED_PART) is None:
            fit = FITS[self._tuning.solver]
            self._save(fit.once(self._others() if fit.once_cost else ()), SHARED_PART)
            self._book.keep(SHARED_PART, {"kept": True})
        return self._load(SHARED_PART)

    def _others(self) -> list[Batch]:
        """What statistics are taken on."""
        tuning, count = self._tuning, self._tuning.samples
        return self._meter.counted(list(tuning.subject.batches(count, tuning.seed, first=count, rows=FEW)))

    def _result(self, calls: int, name: str, exact: Sequence[Tensor], exact_held: Sequence[Tensor]) -> Result:
        """Kept from an earlier run, or fitted and measured now."""
        self._meter.name = f"{calls} calls"
        if kept := self._book.record(calls):
            return _result(kept)
        fits = [(recipe, self._fit(recipe, calls)) for recipe in self._recipes(calls, name, exact)]
        recipe, tensors = min(fits, key=lambda fit: self._tuned(fit, calls, self._fitted, exact).mean().item())
        self._save(tensors, calls)
        result = Result(
            calls,
            recipe,
            tuple(self._base(calls, name, self._held, exact_held).tolist()),
            tuple(self._tuned((recipe, tensors), calls, self._held, exact_held).tolist()),
        )
        self._book.keep(calls, asdict(result))
        return result

    def _recipes(self, calls: int, name: str, exact: Sequence[Tensor]) -> list[Recipe]:
        """To fit and choose from: `name` is the grid of the untuned solver."""
        tuning, fit = self._tuning, FITS[self._tuning.solver]
        if not fit.scouted:
            return [Recipe(tuning.solver, name, options) for options in fit.variants(calls, tuning.options)]

        def error(recipe: Recipe) -> float:
            return _mean(lambda: self._tuned((recipe, {}), calls, self._fitted[:1], exact[:1]))

        return [Recipe(tuning.solver, *scouted(tuning.placed, calls, tuning.options, error))]

    def _fit(self, recipe: Recipe, calls: int) -> Tensors:
        """What a recipe has beyond the shared tensors."""
        evals = TUNED[recipe.solver].inner(**self._tuning.options).evals
        levels = recipe.levels(self._tuning.subject.schedule, calls, evals)
        return FITS[recipe.solver].each(self._fitted, levels, recipe.options, self._shared, finest(levels))

    def _tuned(
        self, fit: tuple[Recipe, Tensors], calls: int, batches: Sequence[Batch], exact: Sequence[Tensor]
    ) -> Tensor:
        recipe, tensors = fit
        solver = TUNED[recipe.solver].restore({**self._shared, **tensors}, **recipe.options)
        return errors(ends(batches, solver, recipe.levels(self._tuning.subject.schedule, calls, solver.evals)), exact)

    def _save(self, tensors: Mapping[str, Tensor], index: int) -> None:
        with atomic.writing(self._tuning.out):
            save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, self._book.part(index))

    def _load(self, index: int) -> dict[str, Tensor]:
        return load_file(self._book.part(index), self._tuning.subject.device)

    def _file(self, results: Sequence[Result]) -> SolverFile:
        subject = self._tuning.subject
        parts = {result.calls: self._load(result.calls) for result in results}
        tensors = {f"{SHARED}.{name}": value for name, value in self._shared.items()}
        tensors |= {f"{calls}.{name}": value for calls, part in parts.items() for name, value in part.items()}
        if self._tuning.solver == "dc" and len(results) >= CASCADED:
            searched = {(subject.guidance, len(part["ratios"])): DC.from_tensors(part) for part in parts.values()}
            tensors |= {f"{CASCADE}.{name}": value for name, value in dc_cascade.fit(searched).tensors().items()}
        recipes = {result.calls: result.recipe for result in results}
        card = _card(self._tuning, results)
        return SolverFile(subject.name, subject.fingerprint, subject.guidance, recipes, tensors, card)


def _mean(distances: Callable[[], Tensor]) -> float:
    """Their mean; inf where the grid does not fit."""
    try:
        return distances().mean().item()
    except UsageError:
        return torch.inf


def _result(record: dict[str, Any]) -> Result:
    return Result(record["calls"], Recipe(**record["recipe"]), tuple(record["base"]), tuple(record["tuned"]))


def _card(tuning: Tuning, results: Sequence[Result]) -> dict[str, Any]:
    """How the file was made and what it measured; no dates and no places, so that the same run gives the same file."""
    subject = tuning.subject
    return {
        "version": importlib.metadata.version("fastdiff-toolkit"),
        "conditions": subject.description,
        "shape": list(subject.shape),
        "samples": tuning.samples,
        "held_out": tuning.samples,
        "seed": tuning.seed,
        "reference": f"{REFERENCE} calls of {reference_recipe(subject.schedule)}",
        "errors": {
            str(result.calls): {
                "base": sum(result.base) / len(result.base),
                "tuned": sum(result.tuned) / len(result.tuned),
                "verdict": result.verdict,
            }
            for result in results
        },
    }
