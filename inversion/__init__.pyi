from fastdiff.inversion.anderson import Anderson as Anderson
from fastdiff.inversion.backward_euler import BackwardEuler as BackwardEuler
from fastdiff.inversion.ddim_inverse import DDIMInverse as DDIMInverse
from fastdiff.inversion.direct_inversion import (
    DirectInversion as DirectInversion,
    apply_direct_inversion as apply_direct_inversion,
)
from fastdiff.inversion.edit_friendly import (
    EditFriendly as EditFriendly,
    RecordedNoise as RecordedNoise,
    ledits as ledits,
)
from fastdiff.inversion.fixed_point import FixedPoint as FixedPoint
from fastdiff.inversion.inversion import (
    Inversion as Inversion,
    InversionPath as InversionPath,
    Inverter as Inverter,
    invert as invert,
    regenerate as regenerate,
)
from fastdiff.inversion.inversion_file import InversionSettings as InversionSettings
from fastdiff.inversion.obelm import OBELM as OBELM
from fastdiff.inversion.registry import INVERTERS as INVERTERS
from fastdiff.inversion.reversed import Reversed as Reversed
from fastdiff.inversion.rf_inversion import ControlledFlow as ControlledFlow, RFInversion as RFInversion
