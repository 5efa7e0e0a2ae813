"""Exponential integrators: the step that solves the linear part of the sampling equation exactly.

Over a step from level t to u the solution is x_u = scale x_t - weight * integral, where the integral runs over the
network's view (x0 or eps) against an exponential of length hh. A solver only chooses how it interpolates that view, and
gets one number per known value. Falling and rising noise share every formula: hh changes its sign.
(Lu et al. 2022, arXiv 2206.00927 and 2211.01095; Zhao et al. 2023, arXiv 2302.04867.)
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
    noise: float = 0.0  # standard deviation of what a stochastic step adds


class Parameterization(NamedTuple):
    """Which view is integrated, and with what scalars."""

    prediction: Callable[[Estimate], Tensor]
    coefficients: Callable[[Level, Level], StepCoefficients]


class KnownPrediction(NamedTuple):
    """A value of the view at a level visited before."""

    lam: float
    value: Tensor  # (B, ...)


def _data(t: Level, u: Level) -> StepCoefficients:
    return StepCoefficients(u.sigma / t.sigma, u.alpha, t.lam - u.lam)


def _noise(t: Level, u: Level) -> StepCoefficients:
    return StepCoefficients(u.alpha / t.alpha if t.alpha else inf, u.sigma, u.lam - t.lam)


def x0_sde(tau: float) -> Parameterization:
    """The data view along the reverse-time SDE that adds tau times the noise of the usual one (arXiv 2309.05019).

    At tau 0 it is X0.
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
X0_SDE = x0_sde(1.0)  # the reverse-time SDE, solved in the data view


def moments(hh: float, count: int) -> list[float]:
    """P_0 .. P_count with P_k = sum over m >= 1 of hh^m / (m + k)!, so P_0 = exp(hh) - 1: the integrals of r^k / k!.

    Where |hh| < 1 the last one is summed and the others follow downwards, as the upward recursion cancels there.
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
    """P_1 replaced by P_0 / 2: DPM-Solver's default, B2 of UniPC. Right to second order."""
    return expm1(hh) / 2


def half(hh: float) -> float:
    """P_1 replaced by hh / 2: B1 of UniPC. Right to second order."""
    return hh / 2


def taylor(hh: float) -> float:
    """P_1 itself: "heun" of diffusers, vary-coeff of UniPC."""
    return moments(hh, 1)[1]


Slope = Callable[[float], float]


def weights(hh: float, nodes: Sequence[float], slope: Slope, curvature: float = 1.0) -> list[float]:
    """One weight for the value at the step's beginning and one for each value at `nodes`.

    nodes: positions in units of the step, 0 its beginning, 1 its end. One node takes its weight from `slope`; more are
    integrated as the polynomial through all values, `curvature` multiplying its second-derivative term.
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
    """The weight that each value at `points` has in the integral of the polynomial through them all.

    integrals: those of the powers 0, 1 .. of the position, as many as there are points.
    """
    return [
        sum(c * integral for c, integral in zip(_lagrange(points, j), integrals, strict=True))
        for j in range(len(points))
    ]


def _lagrange(points: Sequence[float], j: int) -> list[float]:
    """Coefficients, constant first, of the polynomial that is 1 at points[j] and 0 at the others."""
    coefficients = [1.0]
    for i, point in enumerate(points):
        if i != j:
            gap = points[j] - point
            shifted = [0.0, *coefficients]
            scaled = [*(point * c for c in coefficients), 0.0]
            coefficients = [(a - b) / gap for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


def positions(history: Sequence[KnownPrediction], t: Level, u: Level) -> list[float]:
    """Positions of earlier values in units of the step from t to u."""
    h = u.lam - t.lam
    return [(known.lam - t.lam) / h for known in history]


def advance(coefficients: StepCoefficients, x: Tensor, terms: Sequence[float], values: Sequence[Tensor]) -> Tensor:
    """scale x - weight * the sum of `terms`, from `weights`, times `values` (B, ...)."""
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
    """The state at u from x (B, ...) at t, with the view interpolated through `known`, whose first value lies at t."""
    coefficients = parameterization.coefficients(t, u)
    terms = weights(coefficients.hh, positions(known[1:], t, u), slope)
    return advance(coefficients, x, terms, [value for _, value in known])
