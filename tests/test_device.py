"""Whole runs on a second device without a GPU: fake tensors have devices and shapes, and no values.

A tensor that is left on the processor is an error there, as on a GPU.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import tiny_flux
import tiny_pixart
import tiny_sana
import tiny_sd3
import tiny_unet
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily

from fastdiff.apps.attack import presets as attack_presets
from fastdiff.apps.attack.attention import recording_attention
from fastdiff.apps.attack.latents import Latents, prepare
from fastdiff.apps.attack.objective import Goal
from fastdiff.apps.attack.search import search
from fastdiff.apps.attack.space import Pixels, Space
from fastdiff.apps.canvas import fit_canvas
from fastdiff.apps.docclean.restoration import tiling
from fastdiff.apps.docclean.restoration.tiled_restorer import TiledRestorer
from fastdiff.apps.edit import editor as edit_editor, presets as edit_presets
from fastdiff.apps.edit.edit_request import EditRequest
from fastdiff.apps.edit.editor import Editor
from fastdiff.apps.edit.sampling import Edit
from fastdiff.apps.edit.settings import EditSettings
from fastdiff.inversion import anderson
from fastdiff.models import residual
from fastdiff.models.acceleration import stack_cache
from fastdiff.models.acceleration.block_cache import BlockCache
from fastdiff.models.acceleration.block_schedule import BlockSchedule
from fastdiff.models.acceleration.calibration import calibrate
from fastdiff.models.acceleration.rules import FirstBlock, TeaCache
from fastdiff.models.acceleration.scale_shift import fit_scale_shift
from fastdiff.models.acceleration.stack_cache import StackCache
from fastdiff.models.classifier import ClassifierTarget, Preprocessing
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.models.nafdpm import Predictor, ResidualDenoiser, Size
from fastdiff.models.registry import load_model
from fastdiff.models.restorers import Pair
from fastdiff.models.stable_diffusion import TextEncoder
from fastdiff.solvers.grids import time_part
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.readback import read_back, selected
from fastdiff.solvers.registry import SOLVERS

DEVICE = torch.device("cuda", 0)
META = torch.device("meta")  # for gradients: those of a cuda tensor start the driver
SIZE = (64, 64)
WRITERS: dict[str, Callable[[Path], Path]] = {
    "pixart": tiny_pixart.write,
    "sd3": tiny_sd3.write,
    "sana": tiny_sana.write,
    "flux": tiny_flux.write,
    "stable-diffusion": tiny_unet.write_stable_diffusion,
    "xl": lambda folder: tiny_unet.write_stable_diffusion(folder, xl=True),
    "unconditional": tiny_unet.write_prior,
}


@pytest.fixture
def mode(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """Fake tensors; values that are read of them are 1 or True, and so are masks that select."""

    def ones(values: Tensor) -> Any:
        with unset_fake_temporarily():
            return torch.ones(values.shape, dtype=values.dtype).tolist()

    def everything(values: Tensor, mask: Tensor) -> Tensor:
        return values.flatten(0, mask.ndim - 1)

    for module in [module for name, module in sys.modules.items() if name.startswith("fastdiff.")]:
        for function, without_values in ((read_back, ones), (selected, everything)):
            if getattr(module, function.__name__, None) is function:
                monkeypatch.setattr(module, function.__name__, without_values)
    with FakeTensorMode() as mode:
        yield mode


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family of WRITERS, written at the first call."""
    return cache(lambda family: WRITERS[family](tmp_path_factory.mktemp("model") / family))


@pytest.fixture(scope="module", params=list(WRITERS))
def folder(request: pytest.FixtureRequest, folder_of: Callable[[str], Path]) -> Path:
    return folder_of(request.param)


@pytest.fixture(scope="module", params=["stable-diffusion", "xl", "unconditional"])
def unet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return WRITERS[request.param](tmp_path_factory.mktemp("unet") / request.param)


@pytest.fixture(scope="module")
def pixart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixart.write(tmp_path_factory.mktemp("model") / "pixart")


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_unet.write_prior(tmp_path_factory.mktemp("prior") / "prior")


def on_device(net: Any, device: torch.device) -> Any:
    """A network of the same config on the device. Inside the mode."""
    with device:
        made = type(net).from_config(net.config) if hasattr(net, "from_config") else type(net)(net.config)
    return made.eval().requires_grad_(False)


def moved(folder: Path, device: torch.device = DEVICE) -> Any:
    """The model of a folder on the device. Inside the mode."""
    with unset_fake_temporarily():
        model: Any = load_model(str(folder))
    parts: dict[str, Any] = {"network": on_device(model.network, device), "vae": on_device(model.vae, device)}
    if hasattr(model, "text_encoder"):
        parts["text_encoder"] = on_device(model.text_encoder, device)
    for name in ("clip", "t5"):
        if isinstance(each := getattr(model, name, None), TextEncoder):
            parts[name] = replace(each, encoder=on_device(each.encoder, device))
    if hasattr(model, "text_encoders"):
        parts["text_encoders"] = tuple(
            replace(each, encoder=on_device(each.encoder, device)) for each in model.text_encoders
        )
    return replace(model, **parts, components=replace(model.components, device=device))


def is_on_device(*tensors: Tensor, device: torch.device = DEVICE) -> bool:
    return all(isinstance(each, FakeTensor) and each.device == device for each in tensors)


@pytest.mark.parametrize("scale", [1.0, 4.5])
def test_models_encode_sample_and_decode(folder: Path, scale: float, mode: FakeTensorMode) -> None:
    model = moved(folder)
    latents = model.encode(torch.zeros(2, 3, *SIZE))
    prompts = model.encode_prompts(["a fox", "a cat"])
    levels = time_part(model.scheduler(SIZE).schedule, 0.6, 3)
    f = guided_denoiser(model, prompts, scale, SIZE)
    x = integrate(f, SOLVERS["dpmpp-2m"](), latents, levels).x
    assert is_on_device(latents, prompts.embeddings, prompts.mask, x, model.decode(x))
    assert x.shape == latents.shape
    assert all(each.x0.shape == x.shape for each in f.at_levels(torch.stack([x, x, x]), levels[:3]))


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_step(solver: str, pixart: Path, mode: FakeTensorMode) -> None:
    model = moved(pixart)
    f = guided_denoiser(model, model.encode_prompts(["a fox"]), 1.0, SIZE)
    levels = time_part(model.scheduler(SIZE).schedule, 0.6, 4)
    assert is_on_device(integrate(f, SOLVERS[solver](), torch.zeros(1, 4, 8, 8, device=DEVICE), levels).x)


def test_one_part_at_a_time_is_on_the_device(
    folder: Path, mode: FakeTensorMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = moved(folder)
    model = replace(model, components=replace(model.components, offload=True))
    parts, present, used = parts_of(model), set[str](), set[str]()
    for name, part in parts.items():

        def to(place: Any, name: str = name) -> None:
            (present.add if torch.device(place) == DEVICE else present.discard)(name)

        def use(module: nn.Module, given: Any, name: str = name) -> None:
            used.add(name)
            assert present == {name}

        monkeypatch.setattr(part, "to", to)  # fake weights cannot move
        for module in part.modules():
            module.register_forward_pre_hook(use)
    latents, prompts = model.encode(torch.zeros(2, 3, *SIZE)), model.encode_prompts(["a fox", "a cat"])
    f = guided_denoiser(model, prompts, 4.5, SIZE)
    f(latents, model.scheduler(SIZE).schedule.level(0.5))
    model.decode(latents)
    if type(model).embed is not LatentDiffusionModel.embed:
        model.embed(latents)
    assert used == {name for name, part in parts.items() if list(part.children())}  # the patch codec has no modules


def parts_of(model: Any) -> dict[str, nn.Module]:
    """The network, the autoencoder and the text encoders of a model."""
    encoders = {name: getattr(model, name, None) for name in ("text_encoder", "clip", "t5")}
    encoders |= {f"encoder {number}": each for number, each in enumerate(getattr(model, "text_encoders", ()))}
    found = {name: each.encoder if isinstance(each, TextEncoder) else each for name, each in encoders.items() if each}
    return {"network": model.network, "vae": model.vae} | found


# What needs control of joint attention is tested below; the layers of a U-Net cannot merge tokens.
EDITS = [
    *(("pixart", preset) for preset in edit_presets.PRESETS if preset != "rf-inversion"),
    *(("stable-diffusion", preset) for preset in edit_presets.PRESETS if preset not in ("dit4edit", "rf-inversion")),
    *(("xl", preset) for preset in ("ledits", "masactrl")),
    *(("sana", preset) for preset in ("ledits", "dit4edit", "masactrl")),
    *((family, "ledits") for family in ("sd3", "flux")),
]


@pytest.mark.parametrize(("family", "preset"), EDITS)
def test_edits_invert_sample_and_decode(
    family: str,
    preset: str,
    folder_of: Callable[[str], Path],
    mode: FakeTensorMode,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with unset_fake_temporarily():
        folder = folder_of(family)
    controls, merges = family not in ("sd3", "flux"), family in ("pixart", "sana")
    monkeypatch.setattr(edit_editor, "check_controls", lambda settings: None)
    monkeypatch.setattr(edit_editor, "load_editable", lambda *args, **named: moved(folder))
    monkeypatch.setattr(edit_editor, "precisions", lambda device, dtype: (str(DEVICE), (torch.float32,)))
    unsolved = cycle([True, True, False])
    monkeypatch.setattr(anderson, "read_back", lambda values: next(unsolved))
    focus, merge = 0.5 if controls else 0.0, 0.3 if merges else 0.0
    chosen = replace(edit_presets.PRESETS[preset], steps=3, strength=0.5, focus=focus, merge=merge)
    settings = EditSettings("tiny", chosen, preset)
    if controls:
        blend = None if preset == "dit4edit-exact" else "fox cat"  # its first step calls no network
        settings = replace(settings, blend=blend, emphasize=("cat:2",), release=("a:0.4",))
    editor = Editor(settings)
    request = EditRequest("a cat on grass", "a fox on grass")
    prepared = editor.prepare(torch.zeros(1, 3, 64, 96), request, 0)
    assert is_on_device(prepared.edit.latents, prepared.edit.target.embeddings)
    inversion = editor.invert(prepared)
    sampled = prepared.edit.sample(inversion, lambda now: None)
    assert (sampled.source is not None) is controls and is_on_device(inversion.trajectory, sampled.latents)
    assert sampled.source is None or is_on_device(sampled.source)
    assert is_on_device(editor.regenerate(prepared, inversion))
    edited = editor.finish(prepared, inversion, sampled, torch.ones(1, 1, 64, 96))
    assert edited.colour.shape == (3, 64, 96) and edited.colour.device.type == "cpu"


@pytest.mark.parametrize("preset", ["direct-p2p", "edit-friendly", "rf-inversion"])
@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_edits_control_joint_attention(family: str, preset: str, tmp_path: Path, mode: FakeTensorMode) -> None:
    with unset_fake_temporarily():
        WRITERS[family](tmp_path)
    model = moved(tmp_path)
    source, target = (model.encode_prompts([text]) for text in ("a fox on grass", "a cat on grass"))
    chosen = replace(edit_presets.PRESETS[preset], steps=3, strength=0.5)
    words: dict[str, Any] = {"blend": ("fox", "cat"), "emphasize": ("cat:2",)}
    edit = Edit(model, chosen, model.encode(torch.zeros(1, 3, *SIZE)), SIZE, source, target, 0, **words)
    inversion = edit.invert()
    sampled = edit.sample(inversion, lambda now: None)
    assert sampled.source is not None and is_on_device(inversion.trajectory, sampled.latents, sampled.source)


class Mean(nn.Module):
    """A classifier of two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.mean((2, 3)))


@pytest.mark.parametrize("method", ["natural", "sca-strong", "diffattack"])
def test_the_gradient_of_a_classifier_reaches_the_perturbation(method: str, unet: Path, mode: FakeTensorMode) -> None:
    mode.allow_meta = mode.allow_non_fake_inputs = True
    model = moved(unet, META)
    with META:
        classifier = ClassifierTarget("mean", Mean(), Preprocessing(32, 36, mean=(0.5,) * 3), ("a", "b"))
    preset = replace(attack_presets.PRESETS[method], steps=3, landing=False)
    canvas = fit_canvas(torch.zeros(2, 3, 80, 80, device=META), 64, model.size_multiple)
    losses = method == "diffattack" and model.text_conditioned
    with recording_attention(model.network, 64) if losses else nullcontext() as recorder:
        space, misses = prepare(model, preset, canvas, ["a fox", "a cat"], Noise(0, (0, 1)), recorder)
        check_gradients(space, misses, classifier)


@pytest.mark.parametrize("method", ["natural", "diffattack", "pgd"])
def test_the_loop_of_attack_updates_and_keeps_the_best(method: str, prior: Path, mode: FakeTensorMode) -> None:
    mode.allow_meta = mode.allow_non_fake_inputs = True
    model = moved(prior, META)
    with META:
        classifier = ClassifierTarget("mean", Mean(), Preprocessing(32, 36, mean=(0.5,) * 3), ("a", "b"))
    preset = replace(attack_presets.PRESETS[method], iterations=1, steps=3, distraction=0.0, structure=0.0)
    pictures = torch.zeros(2, 3, 80, 80, device=META)
    space: Space = Pixels(pictures, preset.epsilon)
    if method != "pgd":
        canvas = fit_canvas(pictures, 64, model.size_multiple)
        space, _ = prepare(model, preset, canvas, ["a fox", "a cat"], Noise(0, (0, 1)), None)
    found = search(space, classifier, Goal(torch.tensor([0, 1], device=META), targeted=False), preset)
    assert found.pictures.shape == pictures.shape and found.delta.shape == space.unperturbed.shape
    assert is_on_device(*vars(found).values(), device=META)


def check_gradients(space: Latents, misses: Tensor, classifier: ClassifierTarget) -> None:
    goal = Goal(torch.tensor([0, 1], device=META), targeted=False)
    rows = torch.tensor([1], device=META)
    for pictures, wanted in ((space, goal), (space.take(rows), goal.take(rows))):
        made, pull = pictures.sampled(pictures.unperturbed)
        made = made.detach().requires_grad_()
        score = wanted.score(classifier(pictures.decode(made)), space.preset.loss).sum()
        gradient = pull(torch.autograd.grad(score, made)[0])
        assert is_on_device(misses, made, gradient, device=META) and gradient.shape == pictures.unperturbed.shape


@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_of_a_page_are_restored(channels: int, mode: FakeTensorMode, monkeypatch: pytest.MonkeyPatch) -> None:
    places = tiling.spans

    def spans(*lengths: int) -> list[tiling.Span]:
        with unset_fake_temporarily():
            real = places(*lengths)
        return [
            replace(each, source=mode.from_tensor(each.source), share=mode.from_tensor(each.share)) for each in real
        ]

    monkeypatch.setattr(tiling, "spans", spans)
    with unset_fake_temporarily():
        residual.residual_schedule()  # of numbers
    size = Size(channels, 4, 2)
    with DEVICE:
        pair = Pair(Predictor(size).eval(), ResidualDenoiser(size).eval(), channels)
    for net in (pair.predictor, pair.denoiser):
        monkeypatch.setattr(net, "to", lambda device, net=net: net)  # fake weights cannot be swapped; they are there
    for page in (torch.zeros(300, 270), torch.zeros(300, 270, 3))[:channels]:
        clean = TiledRestorer(pair, SOLVERS["dpmpp-2m"], 2, device=str(DEVICE))(page, 0)
        assert clean.shape == page.shape and clean.device.type == "cpu"


def test_a_tensor_that_is_left_on_the_processor_is_an_error(pixart: Path, mode: FakeTensorMode) -> None:
    model = moved(pixart)
    prompts = model.encode_prompts(["a fox"])
    left = replace(prompts, embeddings=prompts.embeddings.cpu())
    f = guided_denoiser(model, left, 1.0, SIZE)
    with pytest.raises(RuntimeError, match="same device"):
        f(torch.zeros(1, 4, 8, 8, device=DEVICE), model.trained.schedule.level(0.5))


@pytest.mark.parametrize("family", ["pixart", "sana", "sd3", "flux"])
def test_caches_of_blocks(
    family: str, folder_of: Callable[[str], Path], mode: FakeTensorMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unset_fake_temporarily():
        folder = folder_of(family)
    monkeypatch.setattr(stack_cache, "read_back", lambda values: [True, False] * (len(values) // 2))
    model, solver = moved(folder), SOLVERS["dpmpp-2m"]()
    network, x = model.network, model.encode(torch.zeros(2, 3, *SIZE))
    f = guided_denoiser(model, model.encode_prompts(["a fox", "a cat"]), 3.0, SIZE)
    levels = time_part(model.scheduler(SIZE).schedule, 0.6, 5)
    calibration = calibrate(f, network, solver, levels, x)
    depth = len(calibration.shares)
    fitted = fit_scale_shift(
        BlockSchedule(((True, True, False, False, True),) * depth, calibration.shares), f, network, solver, levels, x
    )
    caches = (
        StackCache(f, network, levels, FirstBlock(0.1)),
        StackCache(f, network, levels, TeaCache(0.1), order=1),
        BlockCache(f, network, levels, fitted),
    )
    for cached in caches:
        assert is_on_device(integrate(cached, solver, x, levels).x) and cached.cost < 5 and cached.nbytes > 0
