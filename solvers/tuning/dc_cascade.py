"""The fit of a `Cascade` to ratios that were searched at some guidance scales and step counts."""

from collections.abc import Mapping

import numpy as np

from fastdiff.solvers.dc import DC, POINTS
from fastdiff.solvers.dc_cascade import Cascade, terms


def fit(searched: Mapping[tuple[float, int], DC]) -> Cascade:
    """All 36 coefficients at once by least squares, over (guidance, steps) -> what was searched there.

    Three guidance scales and three counts, four ratios or more in each, determine them; from fewer, the smallest
    coefficients are taken.
    """
    rows, ratios = [], []
    for (guidance, steps), solver in searched.items():
        for step in range(POINTS, steps + 1):
            rows.append(terms(guidance, steps, step))
            ratios.append(float(solver.ratios[step - 1]))
    return Cascade(tuple(map(float, np.linalg.lstsq(np.array(rows), np.array(ratios))[0])))
