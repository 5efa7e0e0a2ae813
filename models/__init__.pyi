from fastdiff.models.diffusers_scheduler import (
    FastdiffScheduler as FastdiffScheduler,
    fastdiff_scheduler as fastdiff_scheduler,
)
from fastdiff.models.diffusion_model import (
    Conditioning as Conditioning,
    DiffusionModel as DiffusionModel,
    EditableModel as EditableModel,
)
from fastdiff.models.hooks import (
    AttentionLayer as AttentionLayer,
    Block as Block,
    HookedDenoiser as HookedDenoiser,
)
from fastdiff.models.registry import load_editable as load_editable, load_model as load_model
from fastdiff.models.sampling_problem import (
    SamplingProblem as SamplingProblem,
    load_sampling_problem as load_sampling_problem,
)
from fastdiff.models.scheduler_config import (
    TrainedScheduler as TrainedScheduler,
    scheduler_from_config as scheduler_from_config,
)
from fastdiff.models.speedup.adapter import SpeedUpNet as SpeedUpNet
from fastdiff.models.speedup.denoiser import speedup_denoiser as speedup_denoiser, speedup_grid as speedup_grid
from fastdiff.models.speedup.speedup_file import (
    SpeedUpFile as SpeedUpFile,
    bundled_speedup as bundled_speedup,
    read_speedup_file as read_speedup_file,
)
