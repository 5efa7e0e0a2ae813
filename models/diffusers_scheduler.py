"""Our solvers inside the pipelines of diffusers: a scheduler that is one of them, on a grid of ours.

    pipe.scheduler = fastdiff_scheduler("unipc", order=3, grid="karras", like=pipe.scheduler)

A pipeline calls the network and passes its output, so a solver fits if each step evaluates its own state once.
"""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from fastdiff.models.scheduler_config import EULER, FLOW_MATCHING, MULTISTEP, ONE_STEP, scheduler_from_config
from fastdiff.models.timesteps import Timesteps
from fastdiff.solvers.denoiser import Denoiser, SingleLevelDenoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import FROM, Estimate
from fastdiff.solvers.grids import Grid, grid, time_uniform
from fastdiff.solvers.integration import Solver, Step, steps_of
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import CLEAN_LEVEL, DiscreteVP, Flow, Level, LinearVP, Schedule
from fastdiff.solvers.spacings import SPACINGS
from fastdiff.solvers.uneven_grids import warning_of
from fastdiff.solvers.validation import check_name

STABLE_DIFFUSION: Mapping[str, Any] = {
    "_class_name": "DPMSolverMultistepScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
}
Generators = torch.Generator | list[torch.Generator] | None


def fastdiff_scheduler(
    solver: str, *, order: int | None = None, grid: str | None = None, like: ConfigMixin | None = None
) -> "FastdiffScheduler":
    """A scheduler that runs `solver`, a name of SOLVERS, where it can be chosen with this order.

    `grid` is a name of SPACINGS, by default the spacing that the config of `like` asks for. The noise schedule and what
    the network predicts are those of `like`, by default those of Stable Diffusion 1.

    Raises UsageError for unknown names, an order that the solver does not come in, a solver that no pipeline can run, a
    grid that does not fit the schedule, and a config that `scheduler_from_config` refuses.
    """
    config = STABLE_DIFFUSION if like is None else {**like.config, "_class_name": type(like).__name__}
    made: FastdiffScheduler = FastdiffScheduler.from_config(config, solver=solver, highest_order=order, grid=grid)
    return made


class FastdiffScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]  # the two name their config file differently
    """A scheduler of diffusers around a solver; make one with `fastdiff_scheduler`.

    Its config is `like`, the config of the scheduler that the model came with, laid open, and the choice of a solver.
    It holds the memory of one run, which `set_timesteps` begins. Timesteps are floats, as the solvers have them.

    As in diffusers, the first step of a run is that of `begin_index`, and without one that of its timestep. Later steps
    are those of their timesteps too, where diffusers' multistep classes count: a step that is skipped or repeated is
    taken at its own level. After such a jump a multistep solver begins anew there, as in a run whose first step it is.
    Two chains in turn jump at every other step: a multistep solver needs a scheduler for each.
    """

    order = 1  # calls a step, which pipelines count with
    init_noise_sigma = 1.0  # of the states that pipelines begin with
    _compatibles = [*FLOW_MATCHING, *MULTISTEP, *ONE_STEP, *EULER]  # noqa: RUF012

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        solver: str = "dpmpp-2m",
        highest_order: int | None = None,
        grid: str | None = None,
        like: Mapping[str, Any] = STABLE_DIFFUSION,
    ) -> None:
        own = {*self.config, "_class_name"}
        self.register_to_config(  # type: ignore[no-untyped-call]
            **{key: value for key, value in like.items() if key not in own}
        )
        self._trained = scheduler_from_config(like)
        if grid is not None:
            check_name("grid", grid, SPACINGS)
            self._trained = replace(self._trained, spacing=SPACINGS[grid])
        self._trained.grid(2)  # the grid must fit the schedule
        self._solver: Any = _fitting(solver, highest_order)
        self.timesteps = torch.empty(0)
        self._run = Timesteps(self.timesteps, ())
        self._levels: Grid = ()
        self._begin_index: int | None = None
        self._step_index: int | None = None
        self._first = 0  # step of the run in which the memory begins
        self._memory: Any = None

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """From the config of any scheduler that is read. Raises UsageError as `fastdiff_scheduler` does."""
        config = dict(config or {})
        if "like" not in config:
            if "_class_name" not in config:
                raise UsageError("a config that does not name the class of its scheduler: give like=pipe.scheduler")
            private = [key for key in config if key.startswith("_") and key != "_class_name"]
            config = {"like": {key: value for key, value in config.items() if key not in private}}
        return super().from_config(config, return_unused_kwargs, **kwargs)

    def __len__(self) -> int:
        return int(self.config["num_train_timesteps"])

    @property
    def begin_index(self) -> int | None:
        """The index of the first step, where a pipeline has set one."""
        return self._begin_index

    @property
    def step_index(self) -> int | None:
        """The index of the next step; None before the first one of a run."""
        return self._step_index

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Begin a run of this many steps, or of steps at these falling timesteps and to the end of the schedule.

        Warns where the steps harm the solver, and names a better one.

        Raises UsageError for less than one step, for timesteps outside the schedule or not falling, for both or neither
        of the two, and for sigmas.
        """
        if sigmas is not None:
            raise UsageError("sigmas are not taken: give timesteps, or choose the levels with grid=")
        if timesteps is not None and num_inference_steps is None:
            self._levels = self._levels_of(timesteps)
        elif num_inference_steps is not None and timesteps is None:
            self._levels = self._trained.grid(num_inference_steps)
        else:
            raise UsageError("give either num_inference_steps or timesteps")
        if warning := warning_of(self._solver, self._levels):
            warnings.warn(warning, stacklevel=2)
        labels = torch.tensor([self._trained.timestep(level) for level in self._levels[:-1]], dtype=torch.float32)
        self.timesteps = labels.to(device)
        self._run = Timesteps(self.timesteps, tuple(labels.tolist()))
        self._begin_index = self._step_index = None

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begin the run at this step."""
        self._begin_index, self._step_index = begin_index, None

    def scale_model_input(self, sample: Tensor, timestep: Tensor | float | None = None) -> Tensor:
        return sample

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor | float,
        sample: Tensor,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[Tensor]:
        """The state (B, ...) after the step at `timestep`, from the network's output for `sample`.

        `timestep` is one of `timesteps`, whole or rounded; an element of that tensor is not read, which would wait for
        the device. `generator` is for solvers that add noise. Computes in float32 at least, and returns the dtype of
        `sample`.

        Raises UsageError before `set_timesteps` and for a timestep that is not of the run.
        """
        if not self._levels:
            raise UsageError("a step of no run: call set_timesteps to begin one")
        index = self._run.position(timestep, self._following)
        if index != self._step_index:
            self._first, self._memory = index, self._solver.init(self._levels[index:])
        total = len(self._levels) - 1 - self._first
        step = Step(index - self._first, total, self._levels[index], self._levels[index + 1])
        x = sample.to(torch.promote_types(sample.dtype, torch.float32))
        estimate = FROM[self._trained.predicts](model_output.to(x.dtype), x, step.t)
        f = PrecomputedDenoiser(self._trained.schedule, x, step.t, estimate)
        solver = self._solver.with_noise(Drawn(generator)) if self._solver.stochastic else self._solver
        x, self._memory = solver.step(f, x, step, self._memory)
        self._step_index = index + 1
        return SchedulerOutput(prev_sample=x.to(sample.dtype)) if return_dict else (x.to(sample.dtype),)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Clean states (B, ...) with noise (B, ...) to the levels of these timesteps (B,), of the run or any other."""
        levels = [self._level(label) for label in timesteps.tolist()]
        shape = (-1, *[1] * (original_samples.ndim - 1))
        alpha, sigma = (
            torch.tensor(values).to(original_samples).reshape(shape)
            for values in ([level.alpha for level in levels], [level.sigma for level in levels])
        )
        return alpha * original_samples + sigma * noise

    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
        """`add_noise` by the name and in the order that pipelines of flow matching call it."""
        return self.add_noise(sample, noise, timestep)

    @property
    def _following(self) -> int | None:
        return self._begin_index if self._step_index is None else self._step_index

    def _level(self, label: float) -> Level:
        """That of the run, where it has the timestep: several levels may share one."""
        index = self._run.exact(label, self._following)
        return self._trained_level(label) if index is None else self._levels[index]

    def _trained_level(self, label: float) -> Level:
        schedule = self._trained.schedule
        return schedule.at_timestep(label) if isinstance(schedule, DiscreteVP) else Flow().level(label / len(self))

    def _levels_of(self, timesteps: Sequence[float]) -> Grid:
        """The levels of these timesteps, and the one that the last step goes to."""
        if not all(0 <= label <= len(self) for label in timesteps):
            raise UsageError(f"timesteps from {min(timesteps):g} to {max(timesteps):g}: from 0 to {len(self)}")
        schedule = self._trained.schedule
        end = CLEAN_LEVEL if self._trained.clean else schedule.level(schedule.end)
        levels = (*map(self._trained_level, map(float, timesteps)), end)
        if len(levels) < 2 or any(t.lam >= u.lam for t, u in pairwise(levels)):
            raise UsageError("timesteps fall strictly, and end above the end of the schedule: give one or more")
        return levels


@dataclass(frozen=True, eq=False)
class PrecomputedDenoiser(SingleLevelDenoiser):
    """A denoiser with one precomputed output."""

    schedule: Schedule
    x: Tensor  # (B, ...) the state of that output
    level: Level
    estimate: Estimate

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        if x is not self.x or level != self.level:
            raise UsageError("the solver asks about another state than the pipeline did")
        return self.estimate

    def fresh(self) -> Self:
        return self


@dataclass(frozen=True, eq=False)
class Drawn:
    """Noise from the generator, or the generators a row, that a pipeline was given."""

    generator: Generators

    def __call__(self, like: Tensor, step: int) -> Tensor:
        drawn: Tensor = randn_tensor(like.shape, generator=self.generator, device=like.device, dtype=like.dtype)
        return drawn


def _fitting(name: str, order: int | None) -> Solver[Any]:
    """The solver of this name and order, which fits a pipeline."""
    check_name("solver", name, SOLVERS)
    make = SOLVERS[name]
    takes = "order" in inspect.signature(make).parameters
    solver = make(order=order) if takes and order is not None else make()
    if order not in (None, solver.order):
        raise UsageError(f"{name} of order {order}: it has order {solver.order}")
    if not _asks_about_its_state(solver):
        raise UsageError(f"{name} asks the network about further states in a step, which a pipeline does not")
    return solver


def _asks_about_its_state(solver: Solver[Any]) -> bool:
    schedule, x = LinearVP(), torch.ones(1, 1)
    levels = grid(time_uniform, schedule, 4)
    memory = solver.init(levels)
    try:
        for step in steps_of(levels):
            f: Denoiser = PrecomputedDenoiser(schedule, x, step.t, Estimate(x, x))
            x, memory = solver.step(f, x, step, memory)
    except UsageError:
        return False
    return True
