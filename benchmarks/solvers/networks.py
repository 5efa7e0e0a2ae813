"""The races on networks: the bundled backbone of scenes at two guidance scales, and the denoiser of pages."""

from collections.abc import Sequence

from benchmarks.result import Section, Table
from benchmarks.solvers import tables
from benchmarks.solvers.race import SEEDS, Plan, Row, race
from fastdiff.models.sampling_problem import SamplingProblem, load_sampling_problem

GUIDANCES = (1.0, 4.5)
CROP = 64  # pixels of a side, of pages: a call costs a quarter of what it does on the crops of the training


def scenes(calls: Sequence[int], limit: int | None) -> Section:
    plan = Plan(rows=4, batches=1, grids=1, dear=True, seeds=limited(limit), calls=calls)
    found = [
        raced(f"scenes, guidance {each:g}", load_sampling_problem("scenes", guidance=each), plan) for each in GUIDANCES
    ]
    return joined(found)


def docclean(calls: Sequence[int], limit: int | None) -> Section:
    plan = Plan(rows=4, batches=2, grids=1, dear=True, seeds=limited(limit), calls=calls)
    return raced("docclean", load_sampling_problem("docclean", size=CROP), plan)


def limited(limit: int | None) -> int:
    """Seeds held out."""
    return SEEDS if limit is None else min(limit, SEEDS)


def raced(title: str, model: SamplingProblem, plan: Plan) -> Section:
    return told(title, race(model, plan))


def told(title: str, rows: Sequence[Row]) -> Section:
    """The rows of a race as tables, and as pages that name it."""
    made: list[Table] = [tables.errors(title, rows), tables.ways(title, rows), *tables.summary(title, rows)]
    return Section(made, [{"race": title} | row for row in rows])


def joined(sections: Sequence[Section]) -> Section:
    return Section(
        [table for section in sections for table in section.tables],
        [page for section in sections for page in section.pages],
    )
