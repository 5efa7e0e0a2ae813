from fastdiff.inversion.anderson import Anderson as Anderson
from fastdiff.inversion.backward_euler import BackwardEuler as BackwardEuler
from fastdiff.inversion.ddim_inverse import DDIMInverse as DDIMInverse
from fastdiff.inversion.edit_friendly import EditFriendly as EditFriendly, Maps as Maps, ledits as ledits
from fastdiff.inversion.fixed_point import FixedPoint as FixedPoint
from fastdiff.inversion.inversion import (
    Inversion as Inversion,
    Inverter as Inverter,
    Path as Path,
    invert as invert,
    regenerate as regenerate,
)
from fastdiff.inversion.obelm import OBELM as OBELM
from fastdiff.inversion.offsets import Pinned as Pinned, pinned as pinned
from fastdiff.inversion.registry import INVERTERS as INVERTERS
from fastdiff.inversion.reversed import Reversed as Reversed
from fastdiff.inversion.stored import Setting as Setting
