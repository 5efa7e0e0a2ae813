"""LoRA files that the real pipelines saved: networks and prompts become those of the pipelines that load them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import tiny_flux
import tiny_pixart
import tiny_sana
import tiny_sd3
import tiny_unet
import torch
from diffusers import (
    DiffusionPipeline,
    FluxPipeline,
    SanaPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fastdiff.apps.edit.app import run
from fastdiff.apps.edit.identity import fingerprint
from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.provenance import remembered
from fastdiff.cli.main import main
from fastdiff.models import lora
from fastdiff.models.lora import LoraFile
from fastdiff.models.registry import load_editable
from fastdiff.solvers.errors import MissingError, UsageError

peft: Any = pytest.importorskip("peft", reason="peft is not installed")

PROMPTS = ["a fox, on grass", "two cats and a striped dog"]
OF_ENCODERS = ("q_proj", "v_proj", "fc1")


@dataclass(frozen=True)
class Family:
    """A kind of folder, the layers of its network that a LoRA changes, and what its pipeline is called with."""

    pipeline: type[DiffusionPipeline]
    write: Callable[[Path], Path]
    layers: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    side: int = 64  # of pictures, pixels
    options: tuple[tuple[str, Any], ...] = ()


FAMILIES = {
    "sd": Family(StableDiffusionPipeline, tiny_unet.write_stable_diffusion, ("to_q", "to_out.0", "conv1", "proj_in")),
    "xl": Family(StableDiffusionXLPipeline, partial(tiny_unet.write_stable_diffusion, xl=True)),
    "sd3": Family(StableDiffusion3Pipeline, tiny_sd3.write),
    "flux": Family(FluxPipeline, tiny_flux.write, ("to_q", "to_k", "proj_mlp", "x_embedder")),
    "sana": Family(SanaPipeline, tiny_sana.write, side=128, options=(("use_resolution_binning", False),)),
}
Files = Callable[[str], tuple[Path, Path, Path]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """By family: a model folder, a LoRA file for all its parts, and one for its network alone."""

    @cache
    def made(name: str) -> tuple[Path, Path, Path]:
        root, family = tmp_path_factory.mktemp(name), FAMILIES[name]
        with torch.inference_mode(False):
            folder = family.write(root / "model")
            whole = save(family, folder, root / "whole", parts(family), rank=3)
            return folder, whole, save(family, folder, root / "part", parts(family)[:1], rank=2)

    return made


def parts(family: Family) -> list[str]:
    kind: Any = family.pipeline
    return list(kind._lora_loadable_modules)  # the network first


def save(
    family: Family, folder: Path, where: Path, changed: Sequence[str], rank: int, settings: dict[str, Any] | None = None
) -> Path:
    """Save a LoRA of random weights by the pipeline's own function, with these and other settings of PEFT if given."""
    pipeline: Any = family.pipeline.from_pretrained(folder)
    layers: dict[str, Any] = {}
    for part in changed:
        network = getattr(pipeline, part)
        targets = list(family.layers if part in ("unet", "transformer") else OF_ENCODERS)
        config = peft.LoraConfig(r=rank, lora_alpha=5, target_modules=targets)
        peft.inject_adapter_in_model(config, network, "new")
        for name, weight in network.named_parameters():
            if ".new." in name:
                nn.init.normal_(weight, std=0.2)
        layers[f"{part}_lora_layers"] = peft.get_peft_model_state_dict(network, adapter_name="new")
        if settings:
            layers[f"{part}_lora_adapter_metadata"] = config.to_dict() | settings
    pipeline.save_lora_weights(where, **layers)
    return where.joinpath("pytorch_lora_weights.safetensors").rename(where.with_suffix(".safetensors"))


def error_against_pipeline(
    family: Family, folder: Path, loras: Sequence[LoraFile], dtype: torch.dtype = torch.float32
) -> tuple[float, float]:
    """The largest errors of network inputs made of prompts, and of estimates, as shares of the largest value."""
    pipeline: Any = family.pipeline.from_pretrained(folder, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    names = [f"adapter-{number}" for number in range(len(loras))]
    for name, file in zip(names, loras, strict=True):
        pipeline.load_lora_weights(file.path, adapter_name=name)
    pipeline.set_adapters(names, [file.scale for file in loras])
    calls: list[tuple[tuple[Any, ...], dict[str, Any], Tensor]] = []
    network = getattr(pipeline, parts(family)[0])
    network.register_forward_hook(lambda _, given, named, out: calls.append((given, named, out[0])), with_kwargs=True)
    pipeline(
        PROMPTS,
        height=family.side,
        width=family.side,
        guidance_scale=1.0,
        num_inference_steps=3,
        output_type="latent",
        **dict(family.options),
    )
    model: Any = load_editable(str(folder), dtype=dtype, loras=loras)
    ours = flat(model.network_arguments(model.encode_prompts(PROMPTS), (family.side, family.side)))
    with torch.inference_mode():
        of_prompts = [error(ours[key], value) for key, value in flat(calls[0][1]).items() if key in ours]
        of_estimates = [error(model.network(*given, **named)[0], out) for given, named, out in calls]
    assert of_prompts and len(of_estimates) >= 3
    return max(of_prompts), max(of_estimates)


def flat(given: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of arguments; those of U-Nets lie in a dictionary."""
    inner = given.get("added_cond_kwargs") or {}
    return {key: value for key, value in (given | inner).items() if isinstance(value, Tensor) and value.any()}


def error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.float() - theirs.float()).abs().max() / theirs.float().abs().max())


def estimate(model: Any) -> Tensor:
    """The estimate of the noise for one state and prompt, all but random."""
    side = model.size_multiple * 4
    x = model.encode(torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    prompts = model.encode_prompts(PROMPTS[:1])
    if model.guidance_kind == "embedded":
        prompts = replace(prompts, guidance=torch.tensor([3.0]))
    level = model.scheduler((side, side)).grid(4)[1]
    found: Tensor = model.bind(prompts, (side, side)).conditional(x[None], [level])[0].eps
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_with_lora_is_that_of_the_pipeline(name: str, files: Files) -> None:
    folder, whole, part = files(name)
    for loras in ([LoraFile(whole, 0.7)], [LoraFile(whole, 0.7), LoraFile(part, -0.4)]):
        assert max(error_against_pipeline(FAMILIES[name], folder, loras)) <= 1e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_every_part_changes_and_scale_0_is_the_model_without(name: str, files: Files) -> None:
    folder, whole, part = files(name)
    with torch.inference_mode():
        without = estimate(load_editable(str(folder)))
        seen = [estimate(load_editable(str(folder), loras=[LoraFile(file)])) for file in (whole, part)]
        assert torch.equal(estimate(load_editable(str(folder), loras=[LoraFile(whole, 0.0)])), without)
    assert error(seen[0], without) > 1e-3 and error(seen[1], without) > 1e-3
    if len(parts(FAMILIES[name])) > 1:
        assert error(seen[0], seen[1]) > 1e-3


def test_a_model_in_bfloat16_stays_so(files: Files) -> None:
    folder, whole, _ = files("sd")
    loras = [LoraFile(whole, 0.7)]
    model: Any = load_editable(str(folder), dtype=torch.bfloat16, loras=loras)
    encoder = model.text_encoders[0].encoder
    assert {weight.dtype for each in (model.network, encoder) for weight in each.parameters()} == {torch.bfloat16}
    assert not any(weight.requires_grad for each in (model.network, encoder) for weight in each.parameters())
    assert max(error_against_pipeline(FAMILIES["sd"], folder, loras, torch.bfloat16)) <= 3e-2


def test_a_file_of_another_trainer_is_read_as_the_pipeline_reads_it(files: Files, tmp_path: Path) -> None:
    """Names and factors as in the files of kohya-ss/sd-scripts."""
    folder, _, part = files("sd")
    renamed = {}
    for key, weight in load_file(part).items():
        path, _, kind = key.removeprefix("unet.").partition(".lora_")
        name = f"lora_unet_{path.replace('.', '_')}"
        renamed[f"{name}.lora_{'down' if kind[0] == 'A' else 'up'}.weight"] = weight
        renamed[f"{name}.alpha"] = torch.tensor(1.5)
    save_file(renamed, tmp_path / "other.safetensors")
    loras = [LoraFile(tmp_path / "other.safetensors", 0.7)]
    assert max(error_against_pipeline(FAMILIES["sd"], folder, loras)) <= 1e-5


def test_settings_in_the_file_count(files: Files, tmp_path: Path) -> None:
    """Their alpha makes the change larger than the scale does; a module to import is not looked at."""
    (folder, _, _), family = files("sd"), FAMILIES["sd"]
    whole = save(family, folder, tmp_path / "whole", parts(family), 2, {"use_rslora": True})
    assert max(error_against_pipeline(family, folder, [LoraFile(whole, 0.7)])) <= 1e-5
    odd = save(family, folder, tmp_path / "odd", parts(family), 2, {"use_rslora": True, "megatron_core": "antigravity"})
    model: Any = load_editable(str(folder), loras=[LoraFile(odd)])
    assert model.network.peft_config["lora_0"].lora_alpha == 5
    assert model.network.peft_config["lora_0"].megatron_core != "antigravity"


@pytest.mark.parametrize(
    ("model", "lora_of", "said"),
    [
        ("sd", "sd3", "changes text_encoder_2, .* another family"),
        ("sd3", "xl", "changes unet, .* another family"),
        ("sd", "xl", "changes text_encoder_2, .* another family"),
        ("flux", "sana", "does not fit the transformer"),
        ("sana", "flux", "changes text_encoder, .* another family"),
    ],
)
def test_a_lora_of_another_family_is_refused(model: str, lora_of: str, said: str, files: Files) -> None:
    with pytest.raises(UsageError, match=said):
        load_editable(str(files(model)[0]), loras=[LoraFile(files(lora_of)[1])])


@pytest.mark.parametrize(
    ("name", "part"), [("sd", "unet"), ("sd", "text_encoder"), ("xl", "text_encoder_2"), ("flux", "transformer")]
)
@pytest.mark.parametrize("change", ["wider", "narrower", "missing", "more"])
def test_a_lora_that_does_not_fit_is_refused(name: str, part: str, change: str, files: Files, tmp_path: Path) -> None:
    folder, whole, _ = files(name)
    weights = load_file(whole)
    key = min(key for key in weights if key.startswith(f"{part}.") and ("lora_A" in key or "down" in key))
    weight = weights.pop(key)
    if change == "wider":
        weights[key] = torch.cat([weight, weight], dim=1)
    elif change == "narrower":
        weights[key] = weight[:, :3].contiguous()
    elif change == "more":
        weights |= {key: weight, f"{part}.nowhere.lora{key.partition('.lora')[2]}": weight.clone()}
    save_file(weights, tmp_path / "lora.safetensors")
    with pytest.raises(UsageError, match=r"lora\.safetensors does not fit"):
        load_editable(str(folder), loras=[LoraFile(tmp_path / "lora.safetensors")])


def test_files_that_are_no_lora_are_refused(files: Files, tmp_path: Path) -> None:
    folder, whole, _ = files("sd")
    names = ("broken", "empty", "endless", "whole_numbers", "dora")
    broken, empty, endless, whole_numbers, dora = (tmp_path / f"{name}.safetensors" for name in names)
    save_file({key: weight.int() for key, weight in load_file(whole).items()}, whole_numbers)
    broken.write_bytes(whole.read_bytes()[:-9])
    save_file({}, empty)
    save_file({key: weight * torch.inf for key, weight in load_file(whole).items()}, endless)
    save_file(load_file(whole) | {"unet.mid_block.attentions.0.proj_in.dora_scale": torch.ones(3)}, dora)
    network = folder / "unet" / "diffusion_pytorch_model.safetensors"
    for file, said in (
        (broken, "cannot read the LoRA file"),
        (empty, "is no LoRA file: it is empty"),
        (endless, "not finite"),
        (dora, "is a DoRA file"),
        (whole_numbers, "type torch.int32: floating point is needed"),
        (network, "is no LoRA file: it holds"),
        (tmp_path / "absent.safetensors", "cannot read the LoRA file"),
    ):
        with pytest.raises(UsageError, match=said):
            load_editable(str(folder), loras=[LoraFile(file)])


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.bfloat16])
def test_a_lora_in_another_precision_is_read(dtype: torch.dtype, files: Files, tmp_path: Path) -> None:
    folder, _, part = files("sd")
    save_file({key: weight.to(dtype) for key, weight in load_file(part).items()}, tmp_path / "small.safetensors")
    model: Any = load_editable(str(folder), loras=[LoraFile(tmp_path / "small.safetensors")])
    assert {weight.dtype for weight in model.network.parameters()} == {torch.float32}


def test_settings_of_another_shape_are_passed_over(files: Files, tmp_path: Path) -> None:
    folder, _, part = files("sd")
    save_file(load_file(part), tmp_path / "odd.safetensors", {"lora_adapter_metadata": "[1, 2]"})
    load_editable(str(folder), loras=[LoraFile(tmp_path / "odd.safetensors")])


def test_pixart_takes_no_lora_of_another_family(files: Files, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="diffusers loads no LoRA into a PixArtAlphaPipeline"):
        load_editable(str(tiny_pixart.write(tmp_path / "model")), loras=[LoraFile(files("sd")[1])])


def test_without_peft_the_package_is_named(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(lora, "version", absent)
    folder, whole, _ = files("sd")
    with pytest.raises(MissingError, match=r"pip install 'fastdiff-toolkit\[lora\]'"):
        run(options(folder, tmp_path, f"{whole}:0.7"))
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("given", "path", "scale"),
    [
        ("a.safetensors", "a.safetensors", 1.0),
        ("a.safetensors:0.7", "a.safetensors", 0.7),
        ("a:b.safetensors:-1", "a:b.safetensors", -1.0),
        (r"C:\a.safetensors", r"C:\a.safetensors", 1.0),
    ],
)
def test_a_file_and_its_scale_are_read(given: str, path: str, scale: float) -> None:
    read = LoraFile.parse(given)
    assert read == LoraFile(Path(path), scale) == LoraFile.parse(str(read))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("absent.safetensors", "absent.safetensors"),
        ("a.safetensors:much", "scale 'much' of the LoRA file a.safetensors: give a number"),
        ("a.safetensors:", "give a number"),
        ("a.safetensors:nan", "give a number"),
        ("a.ckpt:0.5", "a.ckpt is no .safetensors file"),
        (f"{'x' * 5000}.safetensors", "there is no such file"),
        (".", "the LoRA file . is a folder: give the .safetensors file in it"),
        ("pytorch_lora_weights.bin", "pytorch_lora_weights.bin is no .safetensors file"),
        ("SD3", "it was trained for another family of models"),
    ],
)
def test_the_command_refuses_in_one_sentence(
    given: str, said: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, out, model = str(drawn(tmp_path)), str(tmp_path / "out.png"), str(files("sd")[0])
    given = str(files("sd3")[1]) if given == "SD3" else given
    capsys.readouterr()  # of the pipelines that wrote the files
    code = main(["edit", picture, "--prompt", "a cat", "--model", model, "--lora", given, "-o", out])
    printed = capsys.readouterr().err
    assert code == 2 and said in printed and printed.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


@pytest.mark.parametrize("given", ["absent", "sd3"])
def test_a_dry_run_refuses_what_the_run_refuses(
    given: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora = str(files("sd3")[1]) if given == "sd3" else "absent.safetensors"
    run = ["edit", str(drawn(tmp_path)), "--prompt", "a cat", "--model", str(files("sd")[0]), "--lora", lora]
    capsys.readouterr()  # of the pipelines that wrote the files
    for extra in ([], ["--dry-run"]):
        assert main([*run, *extra]) == 2
    once, dry = capsys.readouterr().err.splitlines()
    assert once == dry and Path(lora).name in once


def drawn(folder: Path) -> Path:
    pixels = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    Image.fromarray(pixels.byte().permute(1, 2, 0).numpy()).save(folder / "in.png")
    return folder / "in.png"


def options(folder: Path, where: Path, *loras: str, out: str = "out.png") -> Options:
    given: dict[str, Any] = {"source": "a fox", "preset": "ledits", "steps": 2, "device": "cpu"}
    return Options(
        (str(drawn(where)),),
        prompt="a cat",
        model=str(folder),
        lora=loras,
        out=where / out,
        unknown_words=True,
        **given,
    )


def test_an_edit_with_lora_is_made_again(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, whole, part = files("sd")
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(whole.read_bytes())
    (edit,) = run(options(folder, tmp_path, f"{mine}:0.7", str(part))).edits
    assert edit.status == "edited" and edit.options["lora"] == [f"{mine}:0.7", f"{part}:1.0"]
    run(options(folder, tmp_path, out="without.png"))
    first = Image.open(tmp_path / "out.png")
    assert first.tobytes() != Image.open(tmp_path / "without.png").tobytes()

    assert main(["rerun", str(tmp_path / "out.png")]) == 0
    assert Image.open(tmp_path / "out-rerun.png").tobytes() == first.tobytes()
    assert str(tmp_path) not in str(first.info), "the record has names alone"
    assert remembered(tmp_path / "out.png").lora == (f"{mine}:0.7", f"{part}:1.0")

    mine.write_bytes(part.read_bytes())
    assert main(["rerun", str(tmp_path / "out.png"), "--force"]) == 2
    assert f"the LoRA file {mine}:0.7" in capsys.readouterr().err
    mine.unlink()
    assert main(["rerun", str(tmp_path / "out.png"), "--force"]) == 2
    assert "put it there" in capsys.readouterr().err


def test_scale_order_and_contents_count(files: Files, tmp_path: Path) -> None:
    folder, whole, part = files("sd")
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(whole.read_bytes())
    given = [(), (whole,), (f"{whole}:0.7",), (whole, part), (part, whole), (part,)]
    seen = [fingerprint(options(folder, tmp_path, *map(str, loras))) for loras in given]
    assert len(set(seen)) == len(seen)
    assert fingerprint(options(folder, tmp_path, str(copy))) == seen[1]


def test_invert_takes_lora(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, whole, _ = files("sd")
    given = ["--source", "a fox", "--model", str(folder), "--steps", "4", "--preset", "ledits", "--json"]
    inversions = []
    for loras in ([], ["--lora", f"{whole}:0.7"]):
        out = tmp_path / f"{len(loras)}.safetensors"
        assert main(["invert", str(drawn(tmp_path)), *given, *loras, "-o", str(out)]) == 0
        inversions.append(out.read_bytes())
    assert inversions[0] != inversions[1]


def test_a_solver_file_goes_with_no_lora(files: Files, tmp_path: Path) -> None:
    folder, whole, _ = files("sd")
    with pytest.raises(UsageError, match=r"a solver file .* give it no LoRA and no checkpoint"):
        replace(options(folder, tmp_path, str(whole)), solver_file=tmp_path / "solver.json", preset=None)
