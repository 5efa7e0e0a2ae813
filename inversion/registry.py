"""The inverters by name. Inverters for several solvers take the sampling solver as an argument."""

from collections.abc import Callable

from fastdiff.inversion.backward_euler import BackwardEuler
from fastdiff.inversion.ddim_inverse import DDIMInverse
from fastdiff.inversion.edit_friendly import EditFriendly, lcm, ledits
from fastdiff.inversion.fixed_point import FixedPoint
from fastdiff.inversion.inversion import Inverter
from fastdiff.inversion.obelm import OBELM
from fastdiff.inversion.reversed import Reversed
from fastdiff.inversion.rf_inversion import RFInversion

INVERTERS: dict[str, Callable[..., Inverter]] = {
    "ddim": DDIMInverse,
    "reversed": Reversed,
    "fixed-point": FixedPoint,
    "backward-euler": BackwardEuler,
    "edit-friendly": EditFriendly,
    "ledits": ledits,
    "lcm": lcm,
    "o-belm": OBELM,
    "rf-inversion": RFInversion,
}
FLOW_ONLY = frozenset({"rf-inversion"})  # inverters that need a flow model
