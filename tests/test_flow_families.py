"""The families of flow matching against the pipelines of diffusers, on folders that those saved.

Estimates are compared at the calls of the running pipeline, then whole runs and decoded pictures.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from math import log
from pathlib import Path
from typing import Any

import pytest
import tiny_flux
import tiny_sana
import tiny_sd3
import torch
from diffusers import (
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    SanaPipeline,
    StableDiffusion3Pipeline,
)
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from PIL import Image
from torch import Tensor

from fastdiff.apps.edit.app import forecast, run
from fastdiff.apps.edit.edit_request import EditRequest
from fastdiff.apps.edit.editor import Editor
from fastdiff.apps.edit.forecast import cost
from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.apps.edit.sampling import Edit
from fastdiff.apps.edit.settings import EditSettings
from fastdiff.apps.similarity import distance
from fastdiff.models.catalogue import WITHOUT_UNCONDITIONAL, find
from fastdiff.models.diffusers_folder import read_folder
from fastdiff.models.diffusion_model import EditableModel
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.registry import load_editable
from fastdiff.models.scheduler_config import scheduler_from_config
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import Level

PROMPTS = ["a Fox, on grass", "two cats and a striped dog"]
DYNAMIC = {"use_dynamic_shifting": True, "base_image_seq_len": 64, "max_image_seq_len": 1024}


@dataclass(frozen=True)
class Family:
    """A kind of folder and how its pipeline is called."""

    write: Callable[..., Path]
    pipeline: type[DiffusionPipeline]
    guidance: tuple[float, float] = (1.0, 5.0)
    sizes: tuple[tuple[int, int], ...] = ((64, 64), (64, 96), (48, 80))  # height and width, pixels
    options: Mapping[str, Any] = field(default_factory=dict)  # of a call
    absent: tuple[str, ...] = ()  # components
    whole_timesteps: bool = False  # whether the scheduler of the folder truncates them

    def load(self, folder: Path) -> Any:
        pipeline: Any = self.pipeline.from_pretrained(folder, **dict.fromkeys(self.absent))
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def truncating(self, model: Any) -> Any:
        """The model with truncated timesteps where the pipeline has them."""
        if not self.whole_timesteps:
            return model
        return replace(model, trained=replace(model.trained, timestep=lambda level: int(1000 * level.sigma)))


SD3 = partial(Family, pipeline=StableDiffusion3Pipeline)
SANA = partial(
    Family, pipeline=SanaPipeline, sizes=((128, 128), (64, 192), (96, 160)), options={"use_resolution_binning": False}
)
FLUX = partial(Family, pipeline=FluxPipeline, guidance=(1.0, 3.5))
FAMILIES: dict[str, Family] = {
    "sd3": SD3(tiny_sd3.write),
    "sd3-without-t5": SD3(partial(tiny_sd3.write, t5=False), absent=("text_encoder_3", "tokenizer_3")),
    "sd3-dynamic-shift": SD3(partial(tiny_sd3.write, shift=DYNAMIC)),
    "sd3.5": SD3(partial(tiny_sd3.write, qk_norm="rms_norm", dual_attention_layers=(0, 1))),
    "sana": SANA(tiny_sana.write, whole_timesteps=True),
    "sana-1.5": SANA(
        partial(tiny_sana.write, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), qk_norm="rms_norm_across_heads")
    ),
    "flux-dev": FLUX(tiny_flux.write),
    "flux-schnell": FLUX(partial(tiny_flux.write, shift=tiny_flux.SCHNELL, guidance_embeds=False)),
}
OF_EACH = ["sd3", "sana", "flux-dev"]  # one a family


@dataclass(frozen=True)
class Pair:
    """A family's folder, loaded by us and by diffusers."""

    family: Family
    model: Any
    pipeline: Any


@pytest.fixture(scope="module")
def pair_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    @cache
    def pair(name: str) -> Pair:
        family, folder = FAMILIES[name], tmp_path_factory.mktemp("model") / name
        with torch.inference_mode(False):  # which the first test that asks may have entered
            family.write(folder)
            return Pair(family, load_editable(str(folder)), family.load(folder))

    return pair


def noise(model: EditableModel, size: tuple[int, int]) -> Tensor:
    """Noise of the shape of the latents of two pictures."""
    latents = model.encode(torch.zeros(2, 3, *size))
    return torch.randn(latents.shape, generator=torch.Generator().manual_seed(5))


def run_pipeline(
    pair: Pair, x: Tensor, size: tuple[int, int], guidance: float, steps: int, kind: str = "latent"
) -> Tensor:
    out: Tensor = pair.pipeline(
        PROMPTS,
        height=size[0],
        width=size[1],
        latents=packed(x) if pair.family.pipeline is FluxPipeline else x,
        guidance_scale=guidance,
        num_inference_steps=steps,
        output_type=kind,
        return_dict=False,
        **pair.family.options,
    )[0]
    return unpacked(out, size)


def packed(x: Tensor) -> Tensor:
    return FluxPipeline._pack_latents(x, *x.shape)


def unpacked(x: Tensor, size: tuple[int, int]) -> Tensor:
    return FluxPipeline._unpack_latents(x, *size, vae_scale_factor=2) if x.ndim == 3 else x


@contextmanager
def recorded(pipeline: Any) -> Iterator[list[tuple[dict[str, Any], Tensor]]]:
    """The inputs and the output of every call of the transformer."""
    calls: list[tuple[dict[str, Any], Tensor]] = []

    def keep(module: Any, positional: tuple[Any, ...], named: dict[str, Any], output: tuple[Tensor, ...]) -> None:
        names = dict(zip(["hidden_states"], positional, strict=False))
        calls.append((names | named, output[0]))

    hook = pipeline.transformer.register_forward_hook(keep, with_kwargs=True)
    yield calls
    hook.remove()


def flow_level(timestep: float) -> Level:
    sigma = timestep / 1000
    alpha = 1 - sigma
    return Level(sigma, alpha, sigma, log(alpha / sigma) if alpha else -torch.inf)


def error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a share of the largest value: random networks leave latents of a size of their own."""
    assert ours.shape == theirs.shape and theirs.std() > 0.05
    return float((ours - theirs).abs().max() / theirs.abs().max())


def estimate_error(pair: Pair, size: tuple[int, int], guidance: float) -> float:
    """The largest error of conditional and unconditional estimates at the ten calls of a run of the pipeline."""
    family, model, worst = pair.family, pair.model, 0.0
    with recorded(pair.pipeline) as calls:
        run_pipeline(pair, noise(model, size), size, guidance, 10)
    prompts = model.encode_prompts(PROMPTS)
    if model.guidance_kind == "embedded":
        prompts = replace(prompts, guidance=torch.full((2,), guidance))
    bound = model.bind(prompts, size, model.empty_prompt if model.guidance_kind == "classifier-free" else None)
    for (given, theirs), level in zip(calls, model.scheduler(size).grid(10), strict=False):
        timestep = float(given["timestep"][0]) * (1000 if family.pipeline is FluxPipeline else 1)
        assert model.trained.timestep(level) == pytest.approx(timestep, abs=1 if family.whole_timesteps else 1e-3)
        states, at = unpacked(given["hidden_states"], size)[-2:], [flow_level(timestep)]
        if len(theirs) == 2:
            estimates = bound.conditional(states[None], at)
        else:
            (found,) = bound.pairs(states[None], at)
            estimates = [found.unconditional, found.conditional]
        ours = torch.cat([estimate.eps - estimate.x0 for estimate in estimates])
        worst = max(worst, error(ours, unpacked(theirs, size)))
    assert len(calls) == 10
    return worst


def sampling_errors(pair: Pair, size: tuple[int, int], guidance: float) -> tuple[float, float]:
    """The errors of the latents after 20 steps, and of the decoded pictures in [0, 1]."""
    family, model = pair.family, pair.family.truncating(pair.model)
    x = noise(model, size)
    theirs = run_pipeline(pair, x, size, guidance, 20)
    picture = run_pipeline(pair, x, size, guidance, 20, "pt")
    f = guided_denoiser(model, model.encode_prompts(PROMPTS), guidance, size)
    solver = SOLVERS["flow-dpm" if family.whole_timesteps else "ddim"]()
    ours = integrate(f, solver, x, model.scheduler(size).grid(20)).x
    return error(ours, theirs), error((model.decode(ours) / 2 + 0.5).clamp(0, 1), picture)


@pytest.mark.parametrize("name", FAMILIES)
def test_estimates_are_those_of_the_running_pipeline(name: str, pair_of: Callable[[str], Pair]) -> None:
    (low, high), sizes = FAMILIES[name].guidance, FAMILIES[name].sizes
    for guidance, size in zip([low, high, high], sizes, strict=True):
        with torch.inference_mode():
            assert estimate_error(pair_of(name), size, guidance) <= 1e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_samples_and_pictures_are_those_of_the_pipeline(name: str, pair_of: Callable[[str], Pair]) -> None:
    (low, high), sizes = FAMILIES[name].guidance, FAMILIES[name].sizes
    for guidance, size in zip([high, low, high], sizes, strict=True):
        with torch.inference_mode():
            latents, pictures = sampling_errors(pair_of(name), size, guidance)
        assert latents <= 1e-4 and pictures <= 1e-4


def test_the_negative_prompt_of_sana_is_that_of_the_pipeline(pair_of: Callable[[str], Pair]) -> None:
    """Without the instruction before it."""
    model, pipeline = pair_of("sana").model, pair_of("sana").pipeline
    with torch.inference_mode():
        prompt, mask, nothing, absent = pipeline.encode_prompt(
            "a fox", negative_prompt="Two Dogs", complex_human_instruction=model.instruction.split("\n")
        )
        ours, negative = model.encode_prompts(["a fox"]), model.encode_negative_prompts(["Two Dogs"])
        other = model.encode_prompts(["Two Dogs"])
    for found, embeddings, attended in ((ours, prompt, mask), (negative, nothing, absent)):
        assert torch.equal(found.mask, attended.bool())
        torch.testing.assert_close(found.embeddings, embeddings)
    assert [word.text for word in negative.words[0]] == ["two", "dogs"]
    assert error(other.embeddings, negative.embeddings) > 0.1


def test_edit_encodes_the_negative_prompt_of_sana_as_the_pipeline_does(pair_of: Callable[[str], Pair]) -> None:
    model = pair_of("sana").model
    editor = Editor(EditSettings(model.name, PRESETS["ledits"], "ledits", negative="two dogs", device="cpu"))
    with torch.inference_mode():
        prepared = editor.prepare(torch.zeros(1, 3, 128, 128), EditRequest("a cat", "a fox"), 0)
        wanted = model.encode_negative_prompts(["two dogs"])
    assert prepared.edit.negative is not None
    torch.testing.assert_close(prepared.edit.negative.embeddings, wanted.embeddings)


@pytest.mark.parametrize("name", OF_EACH)
def test_latents_are_those_of_the_real_autoencoder(name: str, pair_of: Callable[[str], Pair]) -> None:
    model, vae = pair_of(name).model, pair_of(name).pipeline.vae
    picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    encoded = vae.encode(picture)
    theirs = encoded.latent if hasattr(encoded, "latent") else encoded.latent_dist.mean
    theirs = (theirs - (vae.config.get("shift_factor") or 0)) * vae.config.scaling_factor
    torch.testing.assert_close(model.encode(picture), theirs)
    with pytest.raises(UsageError, match="sides are multiples of"):
        model.encode(torch.zeros(1, 3, 64, 97))


@pytest.mark.parametrize("name", OF_EACH)
def test_a_folder_in_bfloat16_loads_and_estimates_alike(
    name: str, pair_of: Callable[[str], Pair], tmp_path: Path
) -> None:
    rough = load_editable(str(FAMILIES[name].write(tmp_path / name, dtype=torch.bfloat16)), dtype=torch.bfloat16)
    exact, size = pair_of(name).model, (64, 96)
    with torch.inference_mode():
        x, level = noise(exact, size), exact.scheduler(size).grid(10)[5]
        found = [guided_denoiser(each, each.encode_prompts(PROMPTS), 2.0, size)(x, level) for each in (rough, exact)]
    assert rough.network.dtype == torch.bfloat16 and found[0].eps.dtype == torch.float32
    assert error(found[0].eps - found[0].x0, found[1].eps - found[1].x0) < 0.1


@pytest.mark.parametrize("name", OF_EACH)
def test_every_row_has_its_own_prompt(name: str, pair_of: Callable[[str], Pair]) -> None:
    model, size = pair_of(name).model, (64, 64)
    with torch.inference_mode():
        x, level = noise(model, size), model.scheduler(size).grid(10)[3]
        both = guided_denoiser(model, model.encode_prompts(PROMPTS), [1.0, 4.0], size)(x, level).x0
        alone = guided_denoiser(model, model.encode_prompts(PROMPTS[1:]), 4.0, size)(x[1:], level).x0
        other = guided_denoiser(model, model.encode_prompts(PROMPTS[:1]), 4.0, size)(x[1:], level).x0
    assert error(both[1:], alone) < 1e-5 < 1e-2 < error(other, alone)


@pytest.mark.parametrize("name", OF_EACH)
def test_words_have_tokens(name: str, pair_of: Callable[[str], Pair]) -> None:
    read = pair_of(name).model.encode_prompts(["a Fox on grass", ""])
    assert [word.text.lower() for word in read.words[0]] == ["a", "fox", "on", "grass"]
    tokens = [token for word in read.words[0] for token in word.tokens]
    assert len(set(tokens)) == len(tokens) and read.mask[0, tokens].all()
    assert read.words[1] == ()


@pytest.mark.parametrize("name", OF_EACH)
def test_words_beyond_the_limit_are_told(name: str, pair_of: Callable[[str], Pair]) -> None:
    read = pair_of(name).model.encode_prompts([" ".join(["fox"] * 600), "a fox"])
    kept = len(read.words[0])
    assert read.truncated[1] == "" and len(read.truncated[0].split()) in (600 - kept, 601 - kept)
    assert 100 < kept < 600 and read.mask.shape == read.embeddings.shape[:2]


@pytest.mark.parametrize("kind", ["exponential", "linear"])
@pytest.mark.parametrize("tokens", [256, 1024, 4096, 6000])
def test_the_shift_follows_the_number_of_tokens(kind: Any, tokens: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type=kind, max_shift=1.3)
    scheduler.set_timesteps(12, mu=calculate_shift(tokens, max_shift=1.3))
    config = {**scheduler.config, "_class_name": type(scheduler).__name__}
    sigmas = [level.sigma for level in scheduler_from_config(config, tokens).grid(12)]
    assert sigmas == pytest.approx(scheduler.sigmas.tolist(), abs=1e-6)


@pytest.mark.parametrize("name", OF_EACH)
@pytest.mark.parametrize("inversion", ["fixed-point", "edit-friendly", "ledits", "o-belm"])
def test_exact_inversions_return_to_the_picture(name: str, inversion: str, pair_of: Callable[[str], Pair]) -> None:
    model, size = pair_of(name).model, (64, 96)
    preset = replace(PRESETS["ledits"], inversion=inversion, steps=6, strength=1.0, guidance=3.0)
    with torch.inference_mode():
        latents = model.encode(torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1)
        source, target = (model.encode_prompts([text]) for text in PROMPTS)
        edit = Edit(model, preset, latents, size, source, target, seed=0)
        found = edit.invert()
        assert distance(edit.regenerate(found), latents) <= 1e-4
        assert distance(edit.sample(found, lambda now: None).latents, latents) > 1e-3


def test_guidance_options_need_an_unconditional_estimate(pair_of: Callable[[str], Pair]) -> None:
    model = pair_of("flux-dev").model
    with torch.inference_mode():
        latents, prompt = model.encode(torch.zeros(1, 3, 64, 64)), model.encode_prompts(["a fox"])
    with pytest.raises(UsageError, match="no unconditional estimate: leave out --negative"):
        Edit(model, PRESETS["ledits"], latents, (64, 64), prompt, prompt, seed=0, negative=prompt)


def test_sides_beyond_the_positions_of_the_network_are_refused(tmp_path: Path) -> None:
    model = load_editable(str(tiny_sd3.write(tmp_path / "model")))
    model.encode(torch.zeros(1, 3, 16, 192))
    with pytest.raises(UsageError, match="sides of up to 192 pixels"):
        model.encode(torch.zeros(1, 3, 16, 196))


@pytest.mark.parametrize("name", OF_EACH)
@pytest.mark.parametrize("preset", ["ledits", "quick", "unipc", "direct-p2p", "dit4edit-exact", "rf-inversion"])
def test_edit_takes_the_folder(name: str, preset: str, pair_of: Callable[[str], Pair], tmp_path: Path) -> None:
    picture = torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(0))
    Image.fromarray((picture * 255).byte().permute(1, 2, 0).numpy()).save(tmp_path / "in.png")
    report = run(
        Options(
            (str(tmp_path / "in.png"),),
            prompt="a cat on grass",
            source="a fox on grass",
            model=pair_of(name).model.name,
            preset=None if preset in SOLVERS else preset,
            solver=preset if preset in SOLVERS else None,
            steps=2,
            out=tmp_path / "out.png",
            device="cpu",
        )
    )
    assert [edit.status for edit in report.edits] == ["edited"], report.edits
    assert Image.open(tmp_path / "out.png").size == (128, 96)


@pytest.mark.parametrize("preset", ["ledits", "rf-inversion"])
@pytest.mark.parametrize("name", OF_EACH)
def test_the_rows_of_an_edit_are_as_estimated(name: str, preset: str, pair_of: Callable[[str], Pair]) -> None:
    """The network of FLUX takes no unconditional ones."""
    model, rows, chosen = pair_of(name).model, list[int](), replace(PRESETS[preset], steps=4)
    with torch.inference_mode():
        source, target = (model.encode_prompts([text]) for text in ("a fox", "a dog"))
        edit = Edit(model, chosen, model.encode(torch.zeros(1, 3, 64, 64)), (64, 64), source, target, seed=0)
        _ = model.empty_prompt

        def count(module: Any, given: Any, named: Any) -> None:
            rows.append(len(named["encoder_hidden_states"]))

        hook = model.network.register_forward_pre_hook(count, with_kwargs=True)
        edit.sample(edit.invert(), lambda now: None)
        hook.remove()
    settings = EditSettings(model.name, chosen, preset)
    assert sum(rows) == cost(settings, paired=model.guidance_kind == "classifier-free").rows
    pipeline = read_folder(find(model.name)).pipeline
    assert (pipeline not in WITHOUT_UNCONDITIONAL) is (model.guidance_kind == "classifier-free")


@pytest.mark.parametrize("name", OF_EACH)
def test_rf_inversion_inverts_without_the_source_prompt(name: str, pair_of: Callable[[str], Pair]) -> None:
    """As its paper does, also where guidance is an input of the network."""
    model, preset = pair_of(name).model, replace(PRESETS["rf-inversion"], steps=2)
    with torch.inference_mode():
        latents = model.encode(torch.zeros(1, 3, 64, 64))
        prompts = [model.encode_prompts([text]) for text in ("a fox", "a dog on grass")]
        one, other = (Edit(model, preset, latents, (64, 64), prompt, prompt, seed=0).invert().x for prompt in prompts)
    assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["sd3", "flux-dev"])
def test_presets_that_merge_tokens_are_refused_and_another_is_named(
    name: str, pair_of: Callable[[str], Pair], tmp_path: Path
) -> None:
    """Joint attention has no sequence of positions alone."""
    picture = tmp_path / "in.png"
    Image.new("RGB", (128, 96)).save(picture)
    options = Options(
        (str(picture),), prompt="a cat", source="a fox", model=pair_of(name).model.name, preset="dit4edit"
    )
    with pytest.raises(UsageError, match=r"needs token merging, which .* does not allow: give --preset dit4edit-exact"):
        forecast(options)
    with pytest.raises(UsageError, match=r"has no token merging: leave out --merge"):
        forecast(replace(options, preset="ledits", merge=0.2))
