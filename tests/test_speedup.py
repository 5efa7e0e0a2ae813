"""SpeedUpNet on the real networks of both families: identities, negative prompts, files, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_pixart
import tiny_unet
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fastdiff.models import SpeedUpFile, SpeedUpNet, read_speedup_file, speedup_denoiser, speedup_grid
from fastdiff.models.diffusion_model import Conditioning
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.hooks import attention_layers
from fastdiff.models.registry import load_editable, load_model
from fastdiff.models.speedup.adapter import Branch, begin_speedup
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import CountingDenoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.integration import integrate

SIZE = (64, 64)
FOLDERS: dict[str, Callable[[Path], Path]] = {
    "pixart": tiny_pixart.write,
    "stable-diffusion": tiny_unet.write_stable_diffusion,
}


@pytest.fixture(params=FOLDERS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with torch.inference_mode(False):
        return load_editable(str(FOLDERS[request.param](tmp_path / "model")))


@pytest.fixture
def pixart(tmp_path: Path) -> Any:
    with torch.inference_mode(False):
        return load_editable(str(tiny_pixart.write(tmp_path / "model")))


def trained(network: nn.Module) -> SpeedUpNet:
    """An adapter whose weights are not at their beginning."""
    adapter = begin_speedup(network)
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in adapter.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return adapter


def state(model: Any, rows: int = 2) -> Tensor:
    side = SIZE[0] // model._factor
    generator = torch.Generator().manual_seed(3)
    return torch.randn(rows, model.network.config.in_channels, side, side, generator=generator)


def estimate(model: Any, adapter: SpeedUpNet, prompts: Conditioning, negative: Conditioning, x: Tensor) -> Tensor:
    f = speedup_denoiser(model, adapter, prompts, SIZE, negative_prompt=negative)
    with torch.no_grad():
        return f(x, model.trained.schedule.at_timestep(600)).x0


def plain(model: Any, prompts: Conditioning, x: Tensor) -> Tensor:
    with torch.no_grad():
        return guided_denoiser(model, prompts, 1.0, SIZE)(x, model.trained.schedule.at_timestep(600)).x0


def test_adapter_without_scale_and_shift_is_the_network(model: Any) -> None:
    prompts, negative, x = model.encode_prompts(["a fox", "a cat"]), model.encode_prompts(["grass"]), state(model)
    adapter = trained(model.network)
    with torch.no_grad():
        for name, weight in adapter.named_parameters():
            if name.endswith(("scale", "shift")):
                weight.zero_()
    assert torch.allclose(estimate(model, adapter, prompts, negative, x), plain(model, prompts, x), atol=1e-5)


def test_equal_prompts_cancel_at_the_beginning(model: Any) -> None:
    prompts, x = model.encode_prompts(["a fox", "a cat"]), state(model)
    begun = begin_speedup(model.network)
    assert torch.allclose(estimate(model, begun, prompts, prompts, x), plain(model, prompts, x), atol=1e-5)
    other = model.encode_prompts(["grass, dog"])
    assert not torch.allclose(estimate(model, begun, prompts, other, x), plain(model, prompts, x), atol=1e-3)


def test_network_is_unchanged_after_a_call(model: Any) -> None:
    prompts, x = model.encode_prompts(["a fox", "a cat"]), state(model)
    layers = attention_layers(model.network)
    before, processors = plain(model, prompts, x), [layer.module.processor for layer in layers]
    estimate(model, trained(model.network), prompts, model.empty_prompt, x)
    assert [layer.module.processor for layer in layers] == processors
    assert torch.equal(plain(model, prompts, x), before)


def test_rows_do_not_depend_on_each_other(model: Any) -> None:
    texts, x, adapter = ["a fox", "a cat, on grass"], state(model), trained(model.network)
    prompts, negative = model.encode_prompts(texts), model.encode_prompts(["stripe", "a dog"])
    both = estimate(model, adapter, prompts, negative, x)
    for row in range(2):
        alone = estimate(model, adapter, prompts.take([row]), negative.take([row]), x[row : row + 1])
        assert torch.allclose(alone[0], both[row], atol=1e-5)
        swapped = estimate(model, adapter, prompts.take([row]), negative.take([1 - row]), x[row : row + 1])
        assert not torch.allclose(swapped[0], both[row], atol=1e-3)


def test_norm_of_a_branch_does_not_matter(model: Any) -> None:
    prompts, negative, x = model.encode_prompts(["a fox", "a cat"]), model.encode_prompts(["grass"]), state(model)
    adapter = trained(model.network)
    before = estimate(model, adapter, prompts, negative, x)
    branches = [module for module in adapter.modules() if isinstance(module, Branch)]
    assert len(branches) == 2 * len(adapter.layers)
    with torch.no_grad():
        for number, branch in enumerate(branches):
            branch.to_v.weight.mul_(3.0 + number)
    assert torch.allclose(estimate(model, adapter, prompts, negative, x), before, atol=1e-5)


def test_padding_is_masked_in_both_prompts(pixart: Any) -> None:
    prompts, negative, x = pixart.encode_prompts(["a fox"]), pixart.encode_prompts(["grass"]), state(pixart, 1)
    adapter = trained(pixart.network)
    before = estimate(pixart, adapter, prompts, negative, x)
    for each in (prompts, negative):
        assert not each.mask.all()
        each.embeddings[~each.mask] = 7.0
    assert torch.equal(estimate(pixart, adapter, prompts, negative, x), before)


def test_run_calls_the_network_four_times_on_one_row_a_prompt(model: Any) -> None:
    rows: list[int] = []
    hook = model.network.register_forward_pre_hook(lambda module, given: rows.append(len(given[0])))
    f = CountingDenoiser(
        speedup_denoiser(model, trained(model.network), model.encode_prompts(["a fox", "a cat"]), SIZE)
    )
    levels = speedup_grid(model.trained.schedule)
    with torch.no_grad():
        assert integrate(f, DDIM(), state(model), levels).x.isfinite().all()
    hook.remove()
    assert rows == [2, 2, 2, 2] and f.tally.nfe == 4
    assert [round(model.trained.schedule.timestep(level)) for level in levels] == [999, 749, 499, 249, -1]


def test_file_returns_the_adapter(model: Any, tmp_path: Path) -> None:
    prompts, x, adapter = model.encode_prompts(["a fox", "a cat"]), state(model), trained(model.network)
    SpeedUpFile(adapter, "mine", "0123").save(tmp_path / "a.safetensors")
    read = read_speedup_file(tmp_path / "a.safetensors")
    assert (read.model, read.fingerprint) == ("mine", "0123")
    found, wanted = (estimate(model, each, prompts, model.empty_prompt, x) for each in (read.adapter, adapter))
    assert torch.allclose(found, wanted, atol=0.02 * float(wanted.std()))
    read.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_fine_tunes_take_the_adapter_and_other_networks_do_not(model: Any) -> None:
    prompts, x, adapter = model.encode_prompts(["a fox", "a cat"]), state(model), trained(model.network)
    before = estimate(model, adapter, prompts, model.empty_prompt, x)
    torch.manual_seed(8)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.add_(0.02 * weight.std(correction=0) * torch.randn_like(weight))
    tuned = estimate(model, adapter, prompts, model.empty_prompt, x)
    assert not torch.equal(tuned, before) and (tuned - before).norm() < 0.5 * before.norm()
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.copy_(torch.randn_like(weight))
    with pytest.raises(UsageError, match=r"another network than this .* a fine-tune of it"):
        speedup_denoiser(model, adapter, prompts, SIZE)


def test_refusals(pixart: Any, tmp_path: Path) -> None:
    adapter = trained(pixart.network)
    other: Any = load_editable(str(tiny_unet.write_stable_diffusion(tmp_path / "sd")))
    with pytest.raises(UsageError, match="other cross-attention layers"):
        speedup_denoiser(other, adapter, other.encode_prompts(["a fox"]), SIZE)
    with pytest.raises(UsageError, match="no cross-attention"):
        begin_speedup(load_model(str(tiny_unet.write_prior(tmp_path / "prior"))).network)
    path = tmp_path / "a.safetensors"
    SpeedUpFile(adapter, "mine", "0123").save(path)
    weights = load_file(path)
    with safe_open(path, "pt") as file:
        header = file.metadata()["fastdiff"]
    for changed, metadata, sentence in (
        (weights, {"fastdiff": header.replace('"format": 1', '"format": 9')}, "of format 9"),
        (weights, {}, "is not a SpeedUpNet file"),
        ({name: value for name, value in weights.items() if "extra" not in name}, None, "is not a SpeedUpNet file"),
        (weights | {"layers.0.extra.scale": weights["layers.0.extra.scale"] * float("nan")}, None, "damaged"),
    ):
        save_file(changed, path, {"fastdiff": header} if metadata is None else metadata)
        with pytest.raises(UsageError, match=sentence):
            read_speedup_file(path)
    for path, sentence in (
        (tmp_path / "no-such-file", "there is no such file"),
        (tmp_path, "is not a SpeedUpNet file"),
    ):
        with pytest.raises(UsageError, match=sentence):
            read_speedup_file(path)
