"""Tunes a solver to a model for some numbers of network evaluations, and measures on other samples whether it helps.

Finished parts stay beside the output until all are done, so a stopped run resumes.
"""

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fastdiff.apps import full_run
from fastdiff.apps.running import atomic, batch, output_manifest
from fastdiff.apps.running.folder_locks import FolderLocks
from fastdiff.apps.running.output_manifest import OutputManifest
from fastdiff.apps.tuning.fits import FITS, FULL_RUN, Extent, finest, full_runs, scouted
from fastdiff.apps.tuning.measure import (
    REFERENCE,
    Batch,
    Meter,
    ends,
    errors,
    reference,
    reference_config,
    seconds_a_row,
)
from fastdiff.apps.tuning.search import FEW, ROUNDING, grids
from fastdiff.models.sampling_problem import SamplingProblem
from fastdiff.solvers.dc import DC
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid, log_snr
from fastdiff.solvers.sampler_config import GRID_NAMES, SamplerConfig
from fastdiff.solvers.solver_file import CASCADE, SHARED, SolverFile
from fastdiff.solvers.tuned import TUNED, Tensors
from fastdiff.solvers.tuning import dc_cascade

AUTO = "auto"  # the grid with the least error of the untuned solver
REFERENCES, GRIDS, SHARED_PART = 0, 1001, 1002  # indices of parts; a result has its number of evaluations
EVEN = 2.0  # standard errors up to which a difference is not significant
CASCADED = 3  # least numbers of evaluations for a regression over them


@dataclass(frozen=True)
class Result:
    """A tuned solver, with the errors of held-out samples: distances to the reference, relative to its norm."""

    nfe: int
    config: SamplerConfig
    base: tuple[float, ...]  # errors of the base solver on its best grid
    tuned: tuple[float, ...]

    @property
    def verdict(self) -> str:
        """better, worse, or even if the difference, paired by sample, is not significant."""
        gap = torch.tensor(self.base, dtype=torch.float64) - torch.tensor(self.tuned, dtype=torch.float64)
        if not gap.mean().abs() > EVEN * gap.std() / len(gap) ** 0.5:
            return "even"
        return "better" if gap.mean() > 0 else "worse"


@dataclass(frozen=True)
class Tuning:
    """The settings of a run. `samples` are fitted to; as many others give statistics; as many held-out ones measure.

    `solver` is a name of `TUNED`, `base` the solver to tune (by default its own), `grid` one of GRID_NAMES or AUTO.
    `force` replaces files that tuning did not make. `minutes` limits the training of a policy, over all runs.

    Raises UsageError for settings that do not fit together.
    """

    subject: SamplingProblem
    solver: str
    nfe: tuple[int, ...]
    out: Path
    grid: str = AUTO
    base: str | None = None
    samples: int = 8
    seed: int = 0
    force: bool = False
    minutes: float = inf

    def __post_init__(self) -> None:
        if self.solver not in TUNED:
            raise UsageError(f"{self.solver!r} is not tuned: one of {', '.join(TUNED)}")
        if self.grid not in (AUTO, *GRID_NAMES):
            raise UsageError(f"unknown grid {self.grid!r}: {AUTO}, or one of {', '.join(GRID_NAMES)}")
        if self.minutes != inf and not FITS[self.solver].trained:
            trained = ", ".join(name for name, fit in FITS.items() if fit.trained)
            raise UsageError(f"{self.minutes:g} minutes for {self.solver}, which is not trained: {trained} is")
        if self.samples < FEW:
            raise UsageError(f"{self.samples} samples: {FEW} or more are needed")
        inner, schedule = TUNED[self.solver].inner(**self.options), self.subject.schedule
        for nfe in self.nfe if self.grid != AUTO else ():
            top = SamplerConfig(self.solver, self.grid).levels(schedule, nfe, inner.nfe_per_step)[0]
            if abs(top.t - schedule.start) > ROUNDING:
                raise UsageError(f"grid {self.grid} begins at t = {top.t:.3f}, below the noise of {schedule.start:.3f}")
        if self.solver == "v3":
            log_snr(schedule, 2)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the configurations."""
        return dict(TUNED[self.solver].options) if self.base is None else {"base": self.base}

    @property
    def placed(self) -> list[str]:
        """The grids to choose from."""
        if self.grid != AUTO:
            return [self.grid]
        return [full_run.GRID] if FITS[self.solver].previews else grids(self.subject.schedule)

    @property
    def reference(self) -> tuple[int, SamplerConfig]:
        """The calls and the configuration of the run that samples are compared with."""
        if FITS[self.solver].previews:
            return full_run.STEPS, FULL_RUN
        return REFERENCE, reference_config(self.subject.schedule)

    @property
    def work(self) -> float:
        """Approximate number of network evaluations times rows."""
        return self._references + self._once + sum(self._trials(nfe) + self._result(nfe) for nfe in self.nfe)

    @property
    def _once(self) -> float:
        return FITS[self.solver].once_cost(self.samples, self.nfe)

    @property
    def _references(self) -> float:
        return 2 * self.reference[0] * self.samples

    def _trials(self, nfe: int) -> float:
        """Cost of trying grids by the untuned solver, and grids and skipped steps by teleportation."""
        grids = len(self.placed) if self.grid == AUTO else 0
        scouted = grids + nfe if FITS[self.solver].scouted else 0
        return (grids + scouted) * FEW * nfe

    def _result(self, nfe: int) -> float:
        return self.samples * (FITS[self.solver].cost(nfe) + 2 * nfe)

    def seconds(self) -> float:
        """Estimate the duration on this machine. Times one evaluation."""
        a_row = seconds_a_row(list(self.subject.batches(FEW, self.seed)))
        return (self.work - self._once) * a_row + min(self._once * a_row, 60 * self.minutes)

    @property
    def key(self) -> str:
        """Digest of everything that the results depend on."""
        subject = self.subject
        model = (subject.fingerprint, subject.guidance, subject.shape, subject.conditions)
        return output_manifest.digest(
            importlib.metadata.version("fastdiff-toolkit"),
            *model,
            *(self.solver, self.nfe, self.grid, self.options, self.samples, self.seed),
            *([] if self.minutes == inf else [self.minutes]),
        )


@torch.no_grad()
def run(tuning: Tuning, watch: batch.Watch = lambda now: None) -> list[Result]:
    """Tune, write the solver file, and return the result of each number of evaluations.

    Raises UsageError if a grid or solver does not fit the model, OutputError if `out` cannot be written or belongs to
    another, or another run writes into its folder.
    """
    source = tuning.subject.source
    manifest = OutputManifest(
        tuning.out, source, tuning.key, output_manifest.digest("tune", source.resolve()), tuning.force
    )
    with FolderLocks() as locks:
        locks.add([tuning.out.parent])
        if records := manifest.finished():
            return [_result(record) for record in records]
        manifest.open([tuning.out])
        return _Run(tuning, manifest, Meter(tuning.work, watch)).results()


class _Run:
    """One run, with the batches to fit to and the held-out ones."""

    def __init__(self, tuning: Tuning, manifest: OutputManifest, meter: Meter) -> None:
        self._tuning, self._book, self._meter = tuning, manifest, meter
        subject, count = tuning.subject, tuning.samples
        self._fitted = meter.counted(list(subject.batches(count, tuning.seed, rows=FEW)))
        self._held = meter.counted(list(subject.batches(count, tuning.seed, held=True, rows=FEW)))

    def results(self) -> list[Result]:
        exact, exact_held = self._references()
        names = self._grids(exact)
        self._shared = self._once(names)
        results = [self._result(nfe, names[nfe], exact, exact_held) for nfe in self._tuning.nfe]
        file = self._file(results)
        with atomic.draft(self._tuning.out) as path:
            file.save(path)
            self._book.publish({self._tuning.out: path}, [_record(result) for result in results], final=True)
        self._meter.reach(self._meter.total)
        return results

    def _references(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the reference ends of the fitted batches and of the held-out ones."""
        self._meter.name = "reference"
        if self._book.record(REFERENCES) is None:
            runs = full_runs if FITS[self._tuning.solver].previews else reference
            made = {f"{i}": end for i, end in enumerate(runs([*self._fitted, *self._held]))}
            self._save(made, REFERENCES)
            self._book.keep(REFERENCES, {"batches": len(made)})
        kept = self._load(REFERENCES)
        exact = [kept[f"{i}"] for i in range(len(kept))]
        return exact[: len(self._fitted)], exact[len(self._fitted) :]

    def _grids(self, exact: Sequence[Tensor]) -> dict[int, str]:
        """Return the grid of every number of evaluations.

        DC-Solver, whose ratios are regressed over them, gets one for all.
        """
        tuning = self._tuning
        if tuning.grid != AUTO:
            return dict.fromkeys(tuning.nfe, tuning.grid)
        self._meter.name = "grids"
        if (kept := self._book.record(GRIDS)) is None:
            table = {nfe: {name: self._trial(nfe, name, exact) for name in tuning.placed} for nfe in tuning.nfe}
            kept = {str(nfe): min(means, key=means.__getitem__) for nfe, means in table.items()}
            if tuning.solver == "dc":
                every = {
                    name: sum(torch.tensor([means[name] for means in table.values()]).log()) for name in tuning.placed
                }
                kept = dict.fromkeys(kept, min(every, key=every.__getitem__))
            self._book.keep(GRIDS, kept)
        return {nfe: kept[str(nfe)] for nfe in tuning.nfe}

    def _trial(self, nfe: int, name: str, exact: Sequence[Tensor]) -> float:
        """Return the mean error of the untuned solver; inf if the grid does not fit."""
        return _mean(lambda: self._base(nfe, name, self._fitted[:1], exact[:1]))

    def _base(self, nfe: int, name: str, batches: Sequence[Batch], exact: Sequence[Tensor]) -> Tensor:
        inner = TUNED[self._tuning.solver].inner(**self._tuning.options)
        return errors(ends(batches, inner, self._levels(SamplerConfig(self._tuning.solver, name), nfe)), exact)

    def _once(self, names: Mapping[int, str]) -> dict[str, Tensor]:
        """Return the tensors that all numbers of evaluations share. `names` are the grids of these."""
        tuning = self._tuning
        self._meter.name = "policy" if tuning.solver == "consistency" else "statistics"
        if self._book.record(SHARED_PART) is None:
            fit = FITS[tuning.solver]
            grids = [self._levels(SamplerConfig(tuning.solver, name), nfe) for nfe, name in names.items()]
            others = self._others() if fit.once_cost(tuning.samples, tuning.nfe) else ()
            extent = Extent(tuning.minutes, self._book.part(SHARED_PART).with_suffix(".state"))
            self._save(fit.once(others, grids, extent), SHARED_PART)
            self._book.keep(SHARED_PART, {"kept": True})
        return self._load(SHARED_PART)

    def _others(self) -> list[Batch]:
        """Return the batches for statistics."""
        tuning, count = self._tuning, self._tuning.samples
        return self._meter.counted(list(tuning.subject.batches(count, tuning.seed, first=count, rows=FEW)))

    def _result(self, nfe: int, name: str, exact: Sequence[Tensor], exact_held: Sequence[Tensor]) -> Result:
        """Return the result of an earlier run, or fit and measure now."""
        self._meter.name = f"{nfe} calls"
        if kept := self._book.record(nfe):
            return _result(kept)
        fits = [(config, self._fit(config, nfe)) for config in self._configs(nfe, name, exact)]
        config, tensors = min(fits, key=lambda fit: self._tuned(fit, nfe, self._fitted, exact).mean().item())
        self._save(tensors, nfe)
        result = Result(
            nfe,
            config,
            tuple(self._base(nfe, name, self._held, exact_held).tolist()),
            tuple(self._tuned((config, tensors), nfe, self._held, exact_held).tolist()),
        )
        self._book.keep(nfe, _record(result))
        return result

    def _configs(self, nfe: int, name: str, exact: Sequence[Tensor]) -> list[SamplerConfig]:
        """Return the configurations to fit and choose from. `name` is the grid of the untuned solver."""
        tuning, fit = self._tuning, FITS[self._tuning.solver]
        if not fit.scouted:
            return [SamplerConfig(tuning.solver, name, options) for options in fit.variants(nfe, tuning.options)]

        def error(config: SamplerConfig) -> float:
            return _mean(lambda: self._tuned((config, {}), nfe, self._fitted[:1], exact[:1]))

        return [SamplerConfig(tuning.solver, *scouted(tuning.placed, nfe, tuning.options, error))]

    def _fit(self, config: SamplerConfig, nfe: int) -> Tensors:
        """Return the tensors of a configuration besides the shared ones."""
        levels = self._levels(config, nfe)
        return FITS[config.solver].each(self._fitted, levels, config.options, self._shared, finest(levels))

    def _levels(self, config: SamplerConfig, nfe: int) -> Grid:
        nfe_per_step = TUNED[config.solver].inner(**self._tuning.options).nfe_per_step
        return config.levels(self._tuning.subject.schedule, nfe, nfe_per_step)

    def _tuned(
        self, fit: tuple[SamplerConfig, Tensors], nfe: int, batches: Sequence[Batch], exact: Sequence[Tensor]
    ) -> Tensor:
        config, tensors = fit
        solver = TUNED[config.solver].restore({**self._shared, **tensors}, **config.options)
        return errors(
            ends(batches, solver, config.levels(self._tuning.subject.schedule, nfe, solver.nfe_per_step)), exact
        )

    def _save(self, tensors: Mapping[str, Tensor], index: int) -> None:
        with atomic.writing(self._tuning.out):
            save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, self._book.part(index))

    def _load(self, index: int) -> dict[str, Tensor]:
        return load_file(self._book.part(index), self._tuning.subject.device)

    def _file(self, results: Sequence[Result]) -> SolverFile:
        subject = self._tuning.subject
        parts = {result.nfe: self._load(result.nfe) for result in results}
        tensors = {f"{SHARED}.{name}": value for name, value in self._shared.items()}
        tensors |= {f"{nfe}.{name}": value for nfe, part in parts.items() for name, value in part.items()}
        if self._tuning.solver == "dc" and len(results) >= CASCADED:
            searched = {(subject.guidance, len(part["ratios"])): DC.from_tensors(part) for part in parts.values()}
            tensors |= {f"{CASCADE}.{name}": value for name, value in dc_cascade.fit(searched).tensors().items()}
        configs = {result.nfe: result.config for result in results}
        card = _card(self._tuning, results)
        return SolverFile(subject.name, subject.fingerprint, subject.guidance, configs, tensors, card)


def _mean(distances: Callable[[], Tensor]) -> float:
    """Return their mean; inf if the grid does not fit."""
    try:
        return distances().mean().item()
    except UsageError:
        return torch.inf


def _record(result: Result) -> dict[str, Any]:
    """Return the form in which results are kept beside the output."""
    return {"calls": result.nfe, "recipe": asdict(result.config), "base": result.base, "tuned": result.tuned}


def _result(record: dict[str, Any]) -> Result:
    return Result(record["calls"], SamplerConfig(**record["recipe"]), tuple(record["base"]), tuple(record["tuned"]))


def _card(tuning: Tuning, results: Sequence[Result]) -> dict[str, Any]:
    """Return how the file was made, and its errors. Without dates and paths the same run gives the same file."""
    subject = tuning.subject
    return {
        "version": importlib.metadata.version("fastdiff-toolkit"),
        "conditions": subject.description,
        "shape": list(subject.shape),
        "samples": tuning.samples,
        "held_out": tuning.samples,
        "seed": tuning.seed,
        **({} if tuning.minutes == inf else {"minutes": tuning.minutes}),
        "reference": "{} calls of {}".format(*tuning.reference),
        "errors": {
            str(result.nfe): {
                "base": sum(result.base) / len(result.base),
                "tuned": sum(result.tuned) / len(result.tuned),
                "verdict": result.verdict,
            }
            for result in results
        },
    }
