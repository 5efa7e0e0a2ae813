from fastdiff.models.backbone import Backbone as Backbone, Prior as Prior, Prompts as Prompts
from fastdiff.models.diffusers_scheduler import (
    FastdiffScheduler as FastdiffScheduler,
    fastdiff_scheduler as fastdiff_scheduler,
)
from fastdiff.models.registry import load as load, load_prior as load_prior
from fastdiff.models.scheduler_config import (
    TrainedScheduler as TrainedScheduler,
    scheduler_from_config as scheduler_from_config,
)
