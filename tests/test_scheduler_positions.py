"""Where in a run a scheduler of ours steps: sliced, skipped, repeated and custom timesteps, beside diffusers' own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny_sd3
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from problems import Mixture, random_state
from tiny_pixart import write
from tiny_unet import write_stable_diffusion
from torch import Tensor

from fastdiff.models.diffusers_scheduler import FastdiffScheduler, fastdiff_scheduler
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.registry import load_model
from fastdiff.models.scheduler_config import SHARED_LABELS, scheduler_from_config
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import DiscreteVP

Scheduler = Any  # of diffusers: the base class SchedulerMixin declares none of their methods
STEPS = 10  # divides the trained steps, so that diffusers rounds none where they are equally far apart
TRAILING = {"timestep_spacing": "trailing"}
KARRAS = {"use_karras_sigmas": True}
FLOW = {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}
NOISE = {**TRAILING, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
TWINS = [
    (DPMSolverMultistepScheduler(**TRAILING), "dpmpp-2m", None),
    (DPMSolverMultistepScheduler(**KARRAS), "dpmpp-2m", None),
    (DPMSolverMultistepScheduler(**KARRAS, solver_order=1), "ddim", None),
    (DPMSolverMultistepScheduler(**NOISE, solver_order=1), "dpm-1", None),
    (DPMSolverMultistepScheduler(**NOISE), "dpm-2m", None),
    (UniPCMultistepScheduler(**TRAILING), "unipc", 2),
    (UniPCMultistepScheduler(**KARRAS, solver_order=3), "unipc", 3),
    (DDIMScheduler(**TRAILING, clip_sample=False), "ddim", None),
    (EulerDiscreteScheduler(**TRAILING), "euler", None),
    (DPMSolverMultistepScheduler(**FLOW), "flow-dpm", None),
    (UniPCMultistepScheduler(**FLOW), "unipc", 2),
    (FlowMatchEulerDiscreteScheduler(shift=3.0), "euler", None),
]
MULTISTEP = [twin for twin in TWINS if isinstance(twin[0], DPMSolverMultistepScheduler | UniPCMultistepScheduler)]


def config(like: Scheduler) -> dict[str, Any]:
    return {**like.config, "_class_name": type(like).__name__}


def said(like: Scheduler, levels: Grid, index: int, x: Tensor) -> Tensor:
    """What a network that knows the mixture says at a level, in the terms of the config."""
    estimate = Mixture(scheduler_from_config(config(like)).schedule)(x.double(), levels[index])
    flow = scheduler_from_config(config(like)).predicts == "flow"
    return (estimate.eps - estimate.x0 if flow else estimate.eps).float()


def walked(
    scheduler: Scheduler,
    like: Scheduler,
    indices: Sequence[int],
    x: Tensor,
    named: Callable[[Tensor], Any] = lambda timestep: timestep,
) -> Tensor:
    """x after the steps with these indices, each begun from the state that the one before it returned."""
    levels = scheduler_from_config(config(like)).grid(len(scheduler.timesteps))
    scaled = isinstance(scheduler, EulerDiscreteScheduler)  # its states are x / alpha
    x = x / levels[indices[0]].alpha if scaled else x
    for index in indices:
        timestep = scheduler.timesteps[index]
        seen = scheduler.scale_model_input(x, timestep) if scaled else x
        x = scheduler.step(said(like, levels, index, seen), named(timestep), x).prev_sample
    return x


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-4)


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("first", [1, 4, 9])
@pytest.mark.parametrize(("theirs", "solver", "order"), TWINS)
def test_sliced_timesteps_are_those_of_diffusers(
    theirs: Scheduler, solver: str, order: int | None, first: int, told: bool
) -> None:
    ours, ends = fastdiff_scheduler(solver, order=order, like=theirs), []
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(STEPS)
        if told and hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        ends.append(walked(scheduler, theirs, range(first, STEPS), random_state(2, 3, dtype=torch.float32)))
    close(*ends)
    assert ours.step_index == STEPS and ours.begin_index == (first if told else None)


@pytest.mark.parametrize(("theirs", "solver", "order"), MULTISTEP)
def test_after_a_repeated_step_a_run_goes_on_as_one_that_begins_there(
    theirs: Scheduler, solver: str, order: int | None
) -> None:
    """Diffusers counts on, and has to be set anew; its one-step classes take the timestep, as ours do."""
    ours, x = fastdiff_scheduler(solver, order=order, like=theirs), random_state(2, 3, dtype=torch.float32)
    ours.set_timesteps(STEPS)
    middle = walked(ours, theirs, range(1, 6), x)
    again = walked(ours, theirs, range(4, STEPS), middle)
    theirs.set_timesteps(STEPS)
    theirs.set_begin_index(4)
    close(again, walked(theirs, theirs, range(4, STEPS), middle))


@pytest.mark.parametrize("indices", [[0, 1, 1, 2, 2, 3], [0, 2, 4, 6, 8], [3, 0, 9, 5]])
def test_repeated_and_skipped_steps_of_ddim(indices: list[int]) -> None:
    theirs = DDIMScheduler(**TRAILING, clip_sample=False)
    ours, ends = fastdiff_scheduler("ddim", like=theirs), []
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(STEPS)
        ends.append(walked(scheduler, theirs, indices, random_state(2, 3, dtype=torch.float32)))
    close(*ends)


@pytest.mark.parametrize("solver", sorted(name for name, make in SOLVERS.items() if not make().stochastic))
def test_every_solver_begins_at_a_slice_as_our_loop_does(solver: str) -> None:
    like = DPMSolverMultistepScheduler(**TRAILING)
    try:
        scheduler = fastdiff_scheduler(solver, like=like)
    except UsageError:  # of several calls a step
        return
    scheduler.set_timesteps(STEPS)
    trained, x = scheduler_from_config(config(like)), random_state(2, 3)
    ours = integrate(Mixture(trained.schedule), SOLVERS[solver](), x, trained.grid(STEPS)[3:]).x.float()
    torch.testing.assert_close(walked(scheduler, like, range(3, STEPS), x.float()), ours, rtol=0, atol=2e-4)


NAMES: dict[str, Callable[[Tensor], Any]] = {
    "truncated": int,
    "rounded": lambda t: round(float(t)),
    "integer tensor": lambda t: t.long(),
    "rounded float": lambda t: t.round(),
    "number": float,
    "double": lambda t: t.double(),
    "half": lambda t: t.half(),
    "rows": lambda t: t.expand(2),
    "copied rows": lambda t: t.repeat(2),
}


@pytest.mark.parametrize("name", NAMES)
def test_timesteps_may_be_rounded(name: str) -> None:
    like = DPMSolverMultistepScheduler(**KARRAS)
    scheduler, x = fastdiff_scheduler("dpmpp-2m", like=like), random_state(2, 3, dtype=torch.float32)
    ends = []
    for named in (lambda t: t, NAMES[name]):
        scheduler.set_timesteps(STEPS)
        assert (scheduler.timesteps != scheduler.timesteps.round()).any()
        ends.append(walked(scheduler, like, range(4, STEPS), x, named))
    assert torch.equal(*ends)


def shared() -> FastdiffScheduler:
    """Its last three timesteps are one."""
    config = {"_class_name": "DDIMScheduler", "timestep_spacing": "trailing", SHARED_LABELS: 1000}
    scheduler = FastdiffScheduler.from_config(config, solver="ddim")
    scheduler.set_timesteps(STEPS)
    return scheduler


def test_equal_timesteps_are_told_apart_by_their_places_and_the_step_before() -> None:
    scheduler = shared()
    values = scheduler.timesteps.tolist()
    twice = next(index for index in range(STEPS) if values[index] == values[index + 1])
    x = random_state(1, 2, dtype=torch.float32)
    reached = []
    for timestep in (scheduler.timesteps[twice], values[twice], values[twice]):
        scheduler.step(x, timestep, x)
        reached.append(scheduler.step_index)
    assert reached == [twice + 1, twice + 2, twice + 2]
    scheduler.set_timesteps(STEPS)
    scheduler.step(x, values[twice], x)
    assert scheduler.step_index == twice + 2  # the second at the start, as in diffusers
    scheduler.set_begin_index(twice)
    levels = scheduler_from_config(scheduler.config["like"]).grid(STEPS)
    noisy = scheduler.add_noise(torch.zeros(1, 1), torch.ones(1, 1), torch.tensor(values[twice : twice + 1]))
    assert noisy.item() == pytest.approx(levels[twice].sigma)
    scheduler.step(x, values[twice], x)
    assert scheduler.step_index == twice + 1


@pytest.mark.parametrize(
    ("timestep", "message"),
    [
        (700, "timestep 700 is none of this run: the nearest are 699 and 799"),
        (698.5, "none of this run"),
        (torch.tensor(-1), "the nearest are 99 and 199"),
        (torch.tensor([899, 799]), "a step at 2 timesteps"),
    ],
)
def test_timesteps_outside_a_run_are_refused(timestep: Any, message: str) -> None:
    scheduler, x = fastdiff_scheduler("dpmpp-2m", like=DPMSolverMultistepScheduler(**TRAILING)), torch.ones(1, 2)
    scheduler.set_timesteps(STEPS)
    with pytest.raises(UsageError, match=message):
        scheduler.step(x, timestep, x)


def test_a_rounded_timestep_that_could_be_several_is_refused() -> None:
    scheduler, x = fastdiff_scheduler("ddim", grid="log-snr"), torch.ones(1, 2)
    scheduler.set_timesteps(200)
    last = [value for value in scheduler.timesteps.tolist() if int(value) == 3]
    assert len(last) > 1
    with pytest.raises(UsageError, match=r"timestep 3 could be 3.*give it as a float"):
        scheduler.step(x, 3, x)


@pytest.mark.parametrize("kind", [{}, {"final_sigmas_type": "sigma_min"}])
def test_custom_timesteps_are_those_of_diffusers(kind: dict[str, str]) -> None:
    theirs, chosen = DPMSolverMultistepScheduler(**kind), [999, 700, 450, 300, 50, 10]
    ours, ends = fastdiff_scheduler("dpmpp-2m", like=theirs), []
    schedule = scheduler_from_config(config(theirs)).schedule
    assert isinstance(schedule, DiscreteVP)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(timesteps=chosen)
        assert scheduler.timesteps.tolist() == pytest.approx(chosen)
        x = random_state(2, 3, dtype=torch.float32)
        for label, timestep in zip(chosen, scheduler.timesteps, strict=True):
            eps = Mixture(schedule)(x.double(), schedule.at_timestep(label)).eps.float()
            x = scheduler.step(eps, timestep, x, return_dict=False)[0]
        ends.append(x)
    torch.testing.assert_close(*ends, rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigmas": [1.0, 0.5]}, "sigmas are not taken: give timesteps, or choose"),
        ({"num_inference_steps": 3, "timesteps": [3]}, "give either"),
        ({}, "give either"),
        ({"timesteps": [3, 5]}, "fall strictly"),
        ({"timesteps": []}, "give one or more"),
        ({"timesteps": [1200]}, "from 0 to 1000"),
    ],
)
def test_runs_that_cannot_be_set(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fastdiff_scheduler("ddim").set_timesteps(**options)


def with_both(make: Callable[[Scheduler], Any], theirs: Scheduler, solver: str, **options: Any) -> None:
    """Pipelines end in the same latents with a scheduler of ours as with its twin."""
    ends = []
    for scheduler in (theirs, fastdiff_scheduler(solver, like=theirs)):
        pipeline = make(scheduler)
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(0)
        options |= {"num_inference_steps": STEPS, "output_type": "latent", "return_dict": False}
        ends.append(pipeline(**options, generator=generator)[0])
    assert ends[0].std() > 0.1
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=5e-3 * float(ends[0].abs().max()))


@pytest.mark.parametrize("solver", ["dpmpp-2m", "unipc", "ddim"])
@pytest.mark.parametrize("kind", [StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline])
def test_pictures_are_changed_and_filled_in_as_with_diffusers(kind: Any, solver: str, tmp_path: Path) -> None:
    folder = write_stable_diffusion(tmp_path)
    classes = {"dpmpp-2m": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler, "ddim": DDIMScheduler}
    parts = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None).components
    exact = {**TRAILING, "clip_sample": False, "steps_offset": 1} if solver == "ddim" else TRAILING
    theirs = classes[solver].from_config(parts["scheduler"].config, **exact)
    inputs: dict[str, Any] = {"prompt": "a fox", "strength": 0.6, "guidance_scale": 2.0}
    if kind is StableDiffusionInpaintPipeline:
        mask = torch.zeros(1, 1, 64, 64)
        mask[..., :32] = 1
        inputs |= {"image": torch.rand(1, 3, 64, 64), "mask_image": mask, "height": 64, "width": 64}
    else:
        inputs |= {"image": random_state(1, 4, 32, 32, dtype=torch.float32)}

    def make(scheduler: Scheduler) -> Any:
        return kind(**parts | {"scheduler": scheduler}, requires_safety_checker=False)

    with_both(make, theirs, solver, **inputs)


def test_stable_diffusion_3_changes_pictures_as_with_diffusers() -> None:
    net = tiny_sd3.transformer()
    vae = AutoencoderKL(block_out_channels=(4,), norm_num_groups=2, latent_channels=4).eval()
    absent: list[Any] = [None] * 6
    with_both(
        lambda scheduler: StableDiffusion3Img2ImgPipeline(net, scheduler, vae, *absent),
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        "euler",
        image=random_state(1, 4, 8, 8, dtype=torch.float32),
        strength=0.6,
        guidance_scale=1.0,
        prompt_embeds=random_state(1, 5, 16, dtype=torch.float32),
        pooled_prompt_embeds=random_state(1, 8, dtype=torch.float32),
        height=8,
        width=8,
    )


def test_pixart_from_a_later_step_on(tmp_path: Path) -> None:
    ours = load_model(str(write(tmp_path)))
    theirs = DPMSolverMultistepScheduler(**TRAILING)
    net, ends = guided_denoiser(ours, ours.encode_prompts(["a fox"]), 3.0, (64, 64)), []
    for scheduler in (theirs, fastdiff_scheduler("dpmpp-2m", like=theirs)):
        scheduler.set_timesteps(STEPS)
        levels = scheduler_from_config(config(theirs)).grid(STEPS)
        x = random_state(1, 4, 8, 8, dtype=torch.float32)
        with torch.inference_mode():
            for index, timestep in list(enumerate(scheduler.timesteps))[4:]:
                x = scheduler.step(net(x, levels[index]).eps, timestep, x, return_dict=False)[0]
        ends.append(x)
    torch.testing.assert_close(*ends, rtol=0, atol=5e-3)
