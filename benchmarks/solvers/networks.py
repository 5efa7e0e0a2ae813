"""Comparisons on networks: the bundled model of scenes at two guidance scales, and the denoiser of pages."""

from collections.abc import Sequence

from benchmarks.result import Section, Table
from benchmarks.solvers import tables
from benchmarks.solvers.comparison import SEEDS, Plan, Row, compare
from fastdiff.models.sampling_problem import SamplingProblem, load_sampling_problem

GUIDANCES = (1.0, 4.5)
CROP = 64  # pixels of a side of page crops: an evaluation costs a quarter of one on the crops of training


def scenes(calls: Sequence[int], limit: int | None) -> Section:
    """Compare on the bundled model of scenes, at each guidance scale."""
    plan = Plan(rows=4, batches=1, grids=1, expensive=True, seeds=limited(limit), calls=calls)
    found = [
        compare_on(f"scenes, guidance {each:g}", load_sampling_problem("scenes", guidance=each), plan)
        for each in GUIDANCES
    ]
    return join(found)


def docclean(calls: Sequence[int], limit: int | None) -> Section:
    """Compare on the bundled denoiser of pages."""
    plan = Plan(rows=4, batches=2, grids=1, expensive=True, seeds=limited(limit), calls=calls)
    return compare_on("docclean", load_sampling_problem("docclean", size=CROP), plan)


def limited(limit: int | None) -> int:
    """Return the number of held-out seeds."""
    return SEEDS if limit is None else min(limit, SEEDS)


def compare_on(title: str, problem: SamplingProblem, plan: Plan) -> Section:
    return section(title, compare(problem, plan))


def section(title: str, rows: Sequence[Row]) -> Section:
    """Return the rows of a comparison as tables, and as pages that carry its title."""
    made: list[Table] = [tables.errors(title, rows), tables.samplers(title, rows), *tables.summary(title, rows)]
    return Section(made, [{"race": title} | row for row in rows])


def join(sections: Sequence[Section]) -> Section:
    return Section(
        [table for section in sections for table in section.tables],
        [page for section in sections for page in section.pages],
    )
