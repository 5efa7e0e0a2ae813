"""The inverters by name: each turns a solver into one that undoes its steps."""

from fastdiff.inversion.fixed_point import FixedPoint
from fastdiff.inversion.invert import Inverter, unchanged

INVERTERS: dict[str, Inverter] = {
    "reversed": unchanged,
    "fixed-point": FixedPoint,
}
