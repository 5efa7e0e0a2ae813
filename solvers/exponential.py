"""Exponential integrators: steps that solve the linear part of the sampling equation exactly.

The step from level t to u is x_u = scale x_t - weight * integral. The integral is that of the network's prediction (x0
or eps) against an exponential of length hh. A solver chooses how it interpolates the prediction, and gets one weight
per known value. Falling and rising noise use the same formulas: hh changes sign. (Lu et al. 2022, arXiv 2206.00927 and
2211.01095; Zhao et al. 2023, arXiv 2302.04867.)
"""

from collections.abc import Callable, Sequence
from math import exp, expm1, factorial, inf, sqrt
from operator import attrgetter
from typing import NamedTuple

import torch
from torch import Tensor

from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.schedule import Level


class StepCoefficients(NamedTuple):
    """The scalars of one step."""

    scale: float
    weight: float
    hh: float
    noise: float = 0.0  # standard deviation of the noise that a stochastic step adds


class Parameterization(NamedTuple):
    """Which prediction a solver integrates (x0 or eps), and the coefficients of its steps."""

    prediction: Callable[[Estimate], Tensor]
    coefficients: Callable[[Level, Level], StepCoefficients]


class KnownPrediction(NamedTuple):
    """The prediction at a noise level that a run has visited."""

    lam: float
    value: Tensor  # (B, ...)


def _data(t: Level, u: Level) -> StepCoefficients:
    return StepCoefficients(u.sigma / t.sigma, u.alpha, t.lam - u.lam)


def _noise(t: Level, u: Level) -> StepCoefficients:
    return StepCoefficients(u.alpha / t.alpha if t.alpha else inf, u.sigma, u.lam - t.lam)


def x0_sde(tau: float) -> Parameterization:
    """The x0 parameterization of the reverse-time SDE with tau times the usual noise (arXiv 2309.05019).

    tau 0 is X0.
    """

    def coefficients(t: Level, u: Level) -> StepCoefficients:
        h = u.lam - t.lam
        faded = tau * tau * h if tau else 0.0
        return StepCoefficients(
            u.sigma / t.sigma * exp(-faded), u.alpha, -h - faded, u.sigma * sqrt(-expm1(-2 * faded))
        )

    return Parameterization(attrgetter("x0"), coefficients)


X0 = Parameterization(attrgetter("x0"), _data)
EPS = Parameterization(attrgetter("eps"), _noise)
X0_SDE = x0_sde(1.0)  # the reverse-time SDE


def moments(hh: float, count: int) -> list[float]:
    """Return P_0 ..

    P_count with P_k = sum over m >= 1 of hh^m / (m + k)!: the integrals of r^k / k!. P_0 = exp(hh) - 1.

    For |hh| < 1 sums the last one and derives the others downwards, because the upward recursion cancels there.
    """
    if abs(hh) >= 1:
        values = [expm1(hh)]
        for k in range(1, count + 1):
            values.append(values[-1] / hh - 1 / factorial(k))
        return values
    term, total, m = hh / factorial(count + 1), 0.0, 1
    while total + term != total:
        total += term
        m += 1
        term *= hh / (m + count)
    values = [total]
    for k in range(count, 0, -1):
        values.insert(0, hh * (values[0] + 1 / factorial(k)))
    return values


def midpoint(hh: float) -> float:
    """P_1 replaced by P_0 / 2: the default of DPM-Solver, B2 of UniPC. Second order."""
    return expm1(hh) / 2


def half(hh: float) -> float:
    """P_1 replaced by hh / 2: B1 of UniPC. Second order."""
    return hh / 2


def taylor(hh: float) -> float:
    """P_1 itself: "heun" of diffusers, vary-coeff of UniPC."""
    return moments(hh, 1)[1]


Slope = Callable[[float], float]


def weights(hh: float, nodes: Sequence[float], slope: Slope, curvature: float = 1.0) -> list[float]:
    """Return the weight of the value at the start of the step, then of each value at `nodes`.

    nodes: positions in units of the step, 0 at its start, 1 at its end. A single node gets its weight from `slope`.
    More nodes are integrated as the polynomial through all values; `curvature` multiplies its second-derivative term.
    """
    if not nodes:
        return [expm1(hh)]
    if len(nodes) == 1:
        weight = slope(hh) / nodes[0]
        return [expm1(hh) - weight, weight]
    integrals = [factorial(k) * p for k, p in enumerate(moments(hh, len(nodes)))]
    integrals[2] *= curvature
    return polynomial_weights([0.0, *nodes], integrals)


def polynomial_weights(points: Sequence[float], integrals: Sequence[float]) -> list[float]:
    """Return the weight of each value at `points` in the integral of the polynomial through all of them.

    integrals: integrals of the powers 0, 1, .. of the position, one per point.
    """
    return [
        sum(c * integral for c, integral in zip(_lagrange(points, j), integrals, strict=True))
        for j in range(len(points))
    ]


def _lagrange(points: Sequence[float], j: int) -> list[float]:
    """Coefficients, constant first, of the polynomial that is 1 at points[j] and 0 at the other points."""
    coefficients = [1.0]
    for i, point in enumerate(points):
        if i != j:
            gap = points[j] - point
            shifted = [0.0, *coefficients]
            scaled = [*(point * c for c in coefficients), 0.0]
            coefficients = [(a - b) / gap for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


def positions(history: Sequence[KnownPrediction], t: Level, u: Level) -> list[float]:
    """Return the positions of earlier predictions in units of the step from t to u."""
    h = u.lam - t.lam
    return [(known.lam - t.lam) / h for known in history]


def advance(coefficients: StepCoefficients, x: Tensor, terms: Sequence[float], values: Sequence[Tensor]) -> Tensor:
    """Return scale x - weight * sum of terms * values (B, ...), with terms from `weights`."""
    out = x * coefficients.scale
    for term, value in zip(terms, values, strict=True):
        out = torch.add(out, value, alpha=-coefficients.weight * term)
    return out


def through(
    parameterization: Parameterization,
    x: Tensor,
    t: Level,
    u: Level,
    known: Sequence[KnownPrediction],
    slope: Slope = midpoint,
) -> Tensor:
    """Return the state at u from x (B, ...) at t, with the prediction interpolated through `known`.

    The first of `known` lies at t.
    """
    coefficients = parameterization.coefficients(t, u)
    terms = weights(coefficients.hh, positions(known[1:], t, u), slope)
    return advance(coefficients, x, terms, [value for _, value in known])
