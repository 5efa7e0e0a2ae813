from fastdiff.apps.attack.presets import PRESETS as PRESETS, Preset as Preset
from fastdiff.apps.attack.result import Result as Result
from fastdiff.apps.attack.tensor_attack import Attack as Attack, attack as attack
