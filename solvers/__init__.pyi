from fastdiff.solvers.adams_bashforth import deis as deis, ipndm as ipndm
from fastdiff.solvers.adaptive import Adapted as Adapted, Adaptive as Adaptive
from fastdiff.solvers.closed_form import Gaussian as Gaussian, Mixture as Mixture
from fastdiff.solvers.consistency import (
    CoefficientTable as CoefficientTable,
    ConsistencySolver as ConsistencySolver,
)
from fastdiff.solvers.consistency_policy import ConsistencyPolicy as ConsistencyPolicy
from fastdiff.solvers.dc import DC as DC
from fastdiff.solvers.dc_cascade import Cascade as Cascade
from fastdiff.solvers.ddim import DDIM as DDIM, Euler as Euler
from fastdiff.solvers.denoiser import (
    CountingDenoiser as CountingDenoiser,
    Denoiser as Denoiser,
    DenoiserWrapper as DenoiserWrapper,
    Network as Network,
    SingleLevelDenoiser as SingleLevelDenoiser,
    Tally as Tally,
)
from fastdiff.solvers.distributed import DistributedDenoiser as DistributedDenoiser
from fastdiff.solvers.dode import DODE as DODE
from fastdiff.solvers.dode_heun import HeunDODE as HeunDODE
from fastdiff.solvers.dpm_solver import (
    dpm_1 as dpm_1,
    dpm_2 as dpm_2,
    dpm_2m as dpm_2m,
    dpm_3 as dpm_3,
    dpm_3m as dpm_3m,
    dpmpp_2m as dpmpp_2m,
    dpmpp_3m as dpmpp_3m,
    dpmpp_3s as dpmpp_3s,
    flow_dpm as flow_dpm,
    sde_dpmpp_1 as sde_dpmpp_1,
    sde_dpmpp_2m as sde_dpmpp_2m,
)
from fastdiff.solvers.dpm_v3 import DPMv3 as DPMv3
from fastdiff.solvers.dpmpp_2s import DPMpp2S as DPMpp2S
from fastdiff.solvers.errors import (
    FastdiffError as FastdiffError,
    MissingError as MissingError,
    OutputError as OutputError,
    UsageError as UsageError,
)
from fastdiff.solvers.estimate import (
    Estimate as Estimate,
    Prediction as Prediction,
    from_eps as from_eps,
    from_flow as from_flow,
    from_v as from_v,
    from_x0 as from_x0,
)
from fastdiff.solvers.euler_ancestral import EulerAncestral as EulerAncestral
from fastdiff.solvers.evodiff import EVODiff as EVODiff
from fastdiff.solvers.exponential import half as half, midpoint as midpoint, taylor as taylor
from fastdiff.solvers.few_step_grids import few_step as few_step
from fastdiff.solvers.grids import (
    Grid as Grid,
    Spacing as Spacing,
    beta as beta,
    grid as grid,
    karras as karras,
    leading as leading,
    linspace as linspace,
    log_snr as log_snr,
    step_at as step_at,
    time_part as time_part,
    time_quadratic as time_quadratic,
    time_uniform as time_uniform,
    trailing as trailing,
)
from fastdiff.solvers.guidance import (
    ClassifierFree as ClassifierFree,
    ConditionalDenoiser as ConditionalDenoiser,
    EstimatePair as EstimatePair,
    GuidanceRule as GuidanceRule,
    Guided as Guided,
    Interval as Interval,
    Masked as Masked,
    Rescaled as Rescaled,
    Thresholded as Thresholded,
    Unguided as Unguided,
)
from fastdiff.solvers.heun import Heun as Heun
from fastdiff.solvers.iia import IIA as IIA, HeunIIA as HeunIIA, NoiseIIA as NoiseIIA
from fastdiff.solvers.integration import (
    Progress as Progress,
    RecordableSolver as RecordableSolver,
    Solver as Solver,
    Step as Step,
    StochasticSolver as StochasticSolver,
    Trajectory as Trajectory,
    Transition as Transition,
    integrate as integrate,
    is_recordable as is_recordable,
)
from fastdiff.solvers.lcm import LCM as LCM, consistency_points as consistency_points
from fastdiff.solvers.learned_correction import LearnedCorrection as LearnedCorrection
from fastdiff.solvers.multistep import Multistep as Multistep
from fastdiff.solvers.noise import Noise as Noise, NoiseSource as NoiseSource, StridedNoise as StridedNoise
from fastdiff.solvers.parallel import ParallelRun as ParallelRun, integrate_parallel as integrate_parallel
from fastdiff.solvers.registry import SOLVERS as SOLVERS
from fastdiff.solvers.sa_solver import SASolver as SASolver
from fastdiff.solvers.sada import SADA as SADA
from fastdiff.solvers.sampler_config import SamplerConfig as SamplerConfig
from fastdiff.solvers.schedule import (
    CLEAN_LEVEL as CLEAN_LEVEL,
    EDM as EDM,
    CosineVP as CosineVP,
    DiscreteVP as DiscreteVP,
    Flow as Flow,
    Level as Level,
    LinearVP as LinearVP,
    Schedule as Schedule,
    from_edm_sigma as from_edm_sigma,
)
from fastdiff.solvers.shared_timesteps import SharedTimesteps as SharedTimesteps
from fastdiff.solvers.singlestep import Singlestep as Singlestep, budgeted as budgeted
from fastdiff.solvers.solver_file import SolverFile as SolverFile
from fastdiff.solvers.solver_wrapper import SolverWrapper as SolverWrapper
from fastdiff.solvers.spacings import SPACINGS as SPACINGS
from fastdiff.solvers.teleport import Teleport as Teleport
from fastdiff.solvers.tuned import TUNED as TUNED
from fastdiff.solvers.unipc import UniPC as UniPC
from fastdiff.solvers.v3_statistics import Statistics as Statistics
from fastdiff.solvers.with_teleport import WithTeleport as WithTeleport
