"""Our solvers as schedulers of diffusers: in real pipelines, beside its own classes, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_sd3
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    PixArtAlphaPipeline,
    PNDMScheduler,
    SchedulerMixin,
    StableDiffusion3Pipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from problems import Mixture, random_state
from tiny_pixart import write
from tiny_unet import write_stable_diffusion
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fastdiff.models.diffusers_scheduler import FastdiffScheduler, fastdiff_scheduler
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.registry import load_model
from fastdiff.models.scheduler_config import TrainedScheduler, scheduler_from_config
from fastdiff.solvers.denoiser import Denoiser, Network
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.spacings import SPACINGS

Scheduler = Any  # of diffusers: the base class SchedulerMixin declares none of their methods
PROMPTS = ["a fox", "a cat and a dog"]
STEPS = 6
CHOICES = [("unipc", 3, "karras"), ("dpmpp-2m", None, None), ("ddim", None, "trailing")]
FLOWS: dict[str, Scheduler] = {
    "matching": FlowMatchEulerDiscreteScheduler(shift=3.0),
    "sigmas": DPMSolverMultistepScheduler(
        use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction", num_train_timesteps=1000
    ),
}


@pytest.fixture(scope="module")
def stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stable_diffusion(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module")
def pixart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("pixart"))


def noise(*shape: int) -> Tensor:
    return random_state(*shape, dtype=torch.float32)


def made(solver: str, order: int | None) -> Solver[Any]:
    return SOLVERS[solver]() if order is None else SOLVERS[solver](order=order)


def run(trained: TrainedScheduler, f: Denoiser, solver: Solver[Any], spacing: str | None, x: Tensor) -> Tensor:
    """Our own run over the levels of this spacing."""
    trained = trained if spacing is None else replace(trained, spacing=SPACINGS[spacing])
    with torch.inference_mode():
        return integrate(f, solver, x, trained.grid(STEPS)).x


def sampled(pipeline: Any, **options: Any) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(**options, num_inference_steps=STEPS, output_type="latent", return_dict=False)[0]


def assert_close(ours: Tensor, theirs: Tensor, share: float = 1e-4) -> None:
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=share * theirs.abs().max().item())


@pytest.mark.parametrize(("solver", "order", "spacing"), CHOICES)
def test_pixart_samples_as_our_own_loop_does(solver: str, order: int | None, spacing: str | None, pixart: Path) -> None:
    pipeline = PixArtAlphaPipeline.from_pretrained(pixart)
    pipeline.scheduler = fastdiff_scheduler(solver, order=order, grid=spacing, like=pipeline.scheduler)
    x = noise(2, 4, 8, 8)
    theirs = sampled(
        pipeline,
        prompt=PROMPTS,
        latents=x,
        guidance_scale=3.0,
        height=64,
        width=64,
        clean_caption=False,
        use_resolution_binning=False,
    )
    ours = load_model(str(pixart))
    f = guided_denoiser(ours, ours.encode_prompts(PROMPTS), 3.0, (64, 64))
    assert_close(run(ours.trained, f, made(solver, order), spacing, x), theirs)


@pytest.mark.parametrize(("solver", "order", "spacing"), CHOICES)
def test_stable_diffusion_samples_as_our_own_loop_does(
    solver: str, order: int | None, spacing: str | None, stable_diffusion: Path
) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(stable_diffusion, safety_checker=None)
    pipeline.scheduler = FastdiffScheduler.from_config(
        pipeline.scheduler.config, solver=solver, highest_order=order, grid=spacing
    )
    x = noise(2, 4, 32, 32)
    theirs = sampled(pipeline, prompt=PROMPTS, latents=x, guidance_scale=3.0)
    ours = load_model(str(stable_diffusion))
    f = guided_denoiser(ours, ours.encode_prompts(PROMPTS), 3.0, (64, 64))
    assert_close(run(ours.trained, f, made(solver, order), spacing, x), theirs)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("solver", ["flow-dpm", "unipc"])
def test_a_flow_pipeline_samples_as_our_own_loop_does(solver: str, flow: str) -> None:
    net = tiny_sd3.transformer()
    scheduler: Scheduler = fastdiff_scheduler(solver, like=FLOWS[flow])
    absent: list[Any] = [None] * 7
    x, words, whole = noise(2, 4, 8, 8), noise(2, 5, 16), noise(2, 8)
    theirs = sampled(
        StableDiffusion3Pipeline(net, scheduler, *absent),
        prompt_embeds=words,
        pooled_prompt_embeds=whole,
        guidance_scale=1.0,
        latents=x,
        height=64,
        width=64,
    )
    trained = scheduler_from_config({**FLOWS[flow].config, "_class_name": type(FLOWS[flow]).__name__})
    f = Network(
        lambda x, label: net(x, words, whole, label, return_dict=False)[0],
        trained.schedule,
        trained.predicts,
        trained.timestep,
    )
    assert_close(run(trained, f, SOLVERS[solver](), None, x), theirs)


def stepped(scheduler: Any, levels: Any, f: Denoiser, x: Tensor) -> Tensor:
    """A run in which the network is asked at the levels, whatever the labels are."""
    for t, level in zip(scheduler.timesteps, levels, strict=False):
        x = scheduler.step(f(x.double(), level).eps.float(), t, x).prev_sample
    return x


@pytest.mark.parametrize("steps", [5, 10, 20])  # divide the trained steps, so that diffusers rounds none
@pytest.mark.parametrize(
    ("theirs", "solver", "order"),
    [
        (DPMSolverMultistepScheduler(use_karras_sigmas=True), "dpmpp-2m", None),
        (DPMSolverMultistepScheduler(use_karras_sigmas=True, solver_order=1), "ddim", None),
        (UniPCMultistepScheduler(use_karras_sigmas=True, solver_order=3), "unipc", 3),
        (DPMSolverMultistepScheduler(timestep_spacing="trailing"), "dpmpp-2m", None),
    ],
)
def test_parity_with_diffusers_on_equal_sigmas(theirs: Scheduler, solver: str, order: int | None, steps: int) -> None:
    ours = fastdiff_scheduler(solver, order=order, like=theirs)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(steps)
    levels = scheduler_from_config({**theirs.config, "_class_name": type(theirs).__name__}).grid(steps)
    assert [level.edm_sigma for level in levels] == pytest.approx(theirs.sigmas.tolist(), rel=2e-4)
    f = Mixture(scheduler_from_config({**theirs.config}).schedule)
    x = noise(2, 3, 5)
    torch.testing.assert_close(stepped(ours, levels, f, x), stepped(theirs, levels, f, x), rtol=0, atol=3e-4)


def test_the_default_is_stable_diffusion_and_labels_are_not_rounded() -> None:
    scheduler = fastdiff_scheduler("unipc", order=3, grid="karras")
    assert isinstance(scheduler, SchedulerMixin) and scheduler.order == 1 and scheduler.init_noise_sigma == 1
    assert (scheduler.config["beta_schedule"], scheduler.config["beta_end"]) == ("scaled_linear", 0.012)
    assert scheduler.config["prediction_type"] == "epsilon" and len(scheduler) == 1000
    assert FastdiffScheduler().config["like"] == scheduler.config["like"]
    scheduler.set_timesteps(8, "cpu")
    theirs = DPMSolverMultistepScheduler.from_config(scheduler.config, use_karras_sigmas=True)
    theirs.set_timesteps(8)
    assert scheduler.timesteps.dtype == torch.float32
    torch.testing.assert_close(scheduler.timesteps, theirs.timesteps.float(), rtol=0, atol=0.51)
    assert (scheduler.timesteps != scheduler.timesteps.round()).any()
    assert torch.equal(scheduler.scale_model_input(noise(2), scheduler.timesteps[0]), noise(2))


@pytest.mark.parametrize(
    "like",
    [
        *FLOWS.values(),
        PNDMScheduler(beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1),
        EulerDiscreteScheduler(prediction_type="v_prediction", timestep_spacing="trailing"),
        DDIMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing"),
    ],
)
def test_a_config_is_copied_kept_and_given_back(like: Scheduler, tmp_path: Path) -> None:
    first = fastdiff_scheduler("dpmpp-2m", like=like)
    first.save_pretrained(tmp_path)
    others = [
        FastdiffScheduler.from_pretrained(tmp_path),
        FastdiffScheduler.from_config(first.config),
        fastdiff_scheduler("ddim", like=first),
        fastdiff_scheduler("ddim", like=type(like).from_config(first.config)),
    ]
    first.set_timesteps(7)
    expected = scheduler_from_config({**like.config, "_class_name": type(like).__name__})
    assert first.timesteps.tolist() == pytest.approx([expected.timestep(level) for level in expected.grid(7)[:-1]])
    for other in others:
        other.set_timesteps(7)
        assert torch.equal(other.timesteps, first.timesteps)
    assert others[0].config.solver == "dpmpp-2m"
    assert {key: value for key, value in like.config.items() if first.config.get(key) != value} == {
        key: value for key, value in like.config.items() if key.startswith("_")
    }


def test_set_timesteps_begins_anew() -> None:
    scheduler = fastdiff_scheduler("unipc", order=3)
    f = Mixture(scheduler_from_config({}).schedule)
    runs = []
    for halves in (1, 2, 2):
        scheduler.set_timesteps(STEPS)
        levels = scheduler_from_config(scheduler.config["like"]).grid(STEPS)
        runs.append(stepped(scheduler, levels[: len(levels) // halves], f, noise(2, 3)))
    assert torch.equal(runs[1], runs[2]) and not torch.equal(runs[0], runs[1])


def test_a_picture_is_changed_from_a_part_of_its_noise(stable_diffusion: Path) -> None:
    """What img2img of diffusers asks for: noise at a label, and a run from a later step on."""
    pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(stable_diffusion, safety_checker=None)
    pipeline.scheduler = fastdiff_scheduler("dpmpp-2m", like=pipeline.scheduler)
    picture = noise(1, 4, 32, 32)  # taken for latents
    generator = torch.Generator().manual_seed(0)
    theirs = sampled(pipeline, prompt="a fox", image=picture, strength=0.5, guidance_scale=1.0, generator=generator)
    ours = load_model(str(stable_diffusion))
    levels = ours.trained.grid(STEPS)[STEPS // 2 :]
    start = levels[0].alpha * picture + levels[0].sigma * torch.randn(
        picture.shape, generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        f = guided_denoiser(ours, ours.encode_prompts(["a fox"]), 1.0, (64, 64))
        assert_close(integrate(f, SOLVERS["dpmpp-2m"](), start, levels).x, theirs)


@pytest.mark.parametrize("like", [None, *FLOWS.values()])
def test_noise_is_added_to_the_level_of_a_label(like: Scheduler | None) -> None:
    scheduler = fastdiff_scheduler("ddim", like=like)
    scheduler.set_timesteps(5)
    levels = scheduler_from_config(scheduler.config["like"]).grid(5)
    noisy = scheduler.add_noise(torch.full((2, 3), 2.0), torch.ones(2, 3), scheduler.timesteps[[1, 4]])
    assert noisy[:, 0].tolist() == pytest.approx([2 * levels[i].alpha + levels[i].sigma for i in (1, 4)], rel=1e-5)


def test_generators_make_the_noise_of_stochastic_solvers() -> None:
    scheduler, x = fastdiff_scheduler("sde-dpmpp-2m"), noise(2, 3, 5)

    def sample(rows: Tensor, *seeds: int) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        scheduler.set_timesteps(STEPS)
        for t in scheduler.timesteps:
            rows = scheduler.step(0.5 * rows, t, rows, generator=generators, return_dict=False)[0]
        return rows

    together = sample(x, 1, 2)
    assert torch.equal(together, sample(x, 1, 2)) and not torch.equal(together, sample(x, 1, 3))
    torch.testing.assert_close(together[1:], sample(x[1:], 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_states_keep_their_dtype(dtype: torch.dtype) -> None:
    scheduler, x = fastdiff_scheduler("unipc"), noise(2, 3).to(dtype)
    scheduler.set_timesteps(2)
    assert scheduler.step(0.3 * x, scheduler.timesteps[0], x, return_dict=False)[0].dtype == dtype


class NoSync(TorchDispatchMode):
    """Refuses to read a number from a tensor, which on a device waits for all its work."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "a number was read from a tensor"
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("solver", ["ddim", "dpmpp-3m", "unipc", "deis", "sde-dpmpp-2m"])
def test_a_step_reads_no_number_from_a_tensor(solver: str) -> None:
    scheduler, x = fastdiff_scheduler(solver), noise(2, 3)
    scheduler.set_timesteps(STEPS)
    with NoSync():
        for t in scheduler.timesteps:
            x = scheduler.step(0.5 * x, t, x, return_dict=False)[0]
        with pytest.raises(AssertionError, match="was read"):
            x.sum().item()


def test_every_solver_runs_as_in_our_loop_or_is_refused() -> None:
    refused = set()
    for name, make in SOLVERS.items():
        try:
            scheduler = fastdiff_scheduler(name, grid="karras")
        except UsageError as error:
            assert "a pipeline does not" in str(error)
            refused.add(name)
            continue
        if make().stochastic:
            continue
        scheduler.set_timesteps(STEPS)
        trained = scheduler_from_config(scheduler.config["like"])
        levels = replace(trained, spacing=SPACINGS["karras"]).grid(STEPS)
        f, x = Mixture(trained.schedule), noise(2, 3)
        ours = integrate(f, make(), x.double(), levels).x.float()
        torch.testing.assert_close(stepped(scheduler, levels, f, x), ours, rtol=0, atol=2e-4)
    assert refused == {"heun", "dpmpp-2s", "evodiff"} & set(SOLVERS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "dpm++"}, "unknown solver 'dpm\\+\\+': one of ddim"),
        ({"solver": "ddim", "grid": "sigma"}, "unknown grid 'sigma': one of"),
        ({"solver": "ddim", "order": 2}, "ddim of order 2: it has order 1"),
        ({"solver": "unipc", "order": 0}, "order 0"),
        ({"solver": "heun"}, "heun asks the network about further states"),
        ({"solver": "ddim", "like": LCMScheduler()}, "scheduler 'LCMScheduler': one of"),
        ({"solver": "ddim", "like": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)}, "constant shift"),
        ({"solver": "ddim", "like": FLOWS["matching"], "grid": "karras"}, "both ends need signal and noise"),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fastdiff_scheduler(**options)


def test_a_run_needs_its_steps() -> None:
    scheduler, x = fastdiff_scheduler("ddim"), noise(1, 2)
    with pytest.raises(UsageError, match="call set_timesteps"):
        scheduler.step(x, 0, x)
    scheduler.set_timesteps(1)
    scheduler.step(x, scheduler.timesteps[0], x)
    with pytest.raises(UsageError, match="0 steps"):
        scheduler.set_timesteps(0)
    with pytest.raises(UsageError, match="does not name the class"):
        FastdiffScheduler.from_config(dict(DDIMScheduler().config))
