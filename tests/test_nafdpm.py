"""NAF-DPM's networks against published counts and tables, and against files that are not what they seem."""

import math
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from fastdiff.models.nafdpm import (
    NAFBlock,
    Predictor,
    ResidualDenoiser,
    Size,
    TimeEmbedding,
    alphas_cumprod,
    load,
    read_checkpoint,
    seeing_degraded,
)
from fastdiff.models.restorers import read_pair
from fastdiff.solvers.errors import UsageError

SMALL = Size(channels=1, width=4, levels=2)


def awake(net: torch.nn.Module) -> torch.nn.Module:
    """The network with its blocks switched on, in float64."""
    for name, parameter in net.named_parameters():
        if name.endswith(("beta", "gamma")):
            torch.nn.init.ones_(parameter)
    return net.double()


def published(folder: Path, net: torch.nn.Module, name: str = "model.pth") -> Path:
    """A checkpoint as the authors write theirs."""
    torch.save({"model_state_dict": net.state_dict(), "iteration": 100_000}, folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("network", "channels", "count"),
    [
        (Predictor, 1, 4_493_409),
        (ResidualDenoiser, 1, 4_901_377),
        (Predictor, 3, 4_494_563),
        (ResidualDenoiser, 3, 4_903_107),
    ],
)
def test_parameters_are_as_many_as_published(network, channels: int, count: int) -> None:
    with torch.device("meta"):
        net = network(Size(channels=channels))
    assert sum(parameter.numel() for parameter in net.parameters()) == count


@pytest.mark.parametrize("time_width", [None, 16])
def test_a_block_starts_as_the_identity(time_width: int | None) -> None:
    x = torch.randn(2, 8, 5, 7)
    assert torch.equal(NAFBlock(8, time_width)(x, torch.randn(2, 16)), x)


@pytest.mark.parametrize(
    ("modulation", "silent"),
    [((0.0, -1.0, 0.0, -1.0), True), ((-1.0, 0.0, 0.0, -1.0), False), ((0.0, -1.0, -1.0, 0.0), False)],
)
def test_time_gives_shift_and_scale_of_attention_then_of_the_gated_network(modulation, silent: bool) -> None:
    """A scale of -1 and no shift leave a branch without input, and without biases without output."""
    block = awake(NAFBlock(4, 8))
    for name, parameter in block.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    torch.nn.init.zeros_(block.get_parameter("mlp.1.weight"))
    with torch.no_grad():
        block.get_parameter("mlp.1.bias").copy_(torch.tensor(modulation).repeat_interleave(4))
    x = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    assert torch.equal(block(x, torch.randn(1, 8, dtype=torch.float64)), x) == silent


def test_a_predictor_that_ends_in_zero_returns_its_input() -> None:
    net = awake(Predictor(SMALL))
    torch.nn.init.zeros_(net.get_parameter("ending.weight"))
    torch.nn.init.zeros_(net.get_parameter("ending.bias"))
    y = torch.rand(2, 1, 13, 18, dtype=torch.float64)
    assert torch.equal(net(y), y)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 30), (16, 16), (17, 31)])
def test_any_size_is_padded_by_its_own_edge(height: int, width: int) -> None:
    """Padding with black, as published, would give every page a dark border."""
    net = awake(Predictor(Size(3, 4, 2)))
    y = torch.rand(1, 3, height, width, dtype=torch.float64)
    padded = F.pad(y, (0, -width % 4, 0, -height % 4), mode="replicate")
    assert torch.equal(net(y), net(padded)[..., :height, :width])


def test_a_denoiser_takes_its_condition_and_its_time() -> None:
    net = awake(ResidualDenoiser(Size(3, 4, 2)))
    residual, restored = torch.randn(2, 2, 3, 9, 10, dtype=torch.float64).unbind()
    times = torch.tensor([0.0, 99.0])
    net.get_submodule("time_mlp.0").register_forward_hook(lambda module, given, out: out.double())
    out = net(residual, times, restored)
    assert out.shape == residual.shape
    assert not torch.allclose(out, net(residual, times, restored.flip(0)))
    assert not torch.allclose(out, net(residual, times.flip(0), restored))


def test_time_is_embedded_in_sines_and_cosines_from_1_to_1e_4() -> None:
    values = TimeEmbedding(32)(torch.tensor([3.0]))[0]
    for i in (0, 1, 7, 15):
        angle = 3 * 10000 ** (-i / 15)
        assert values[i].item() == pytest.approx(math.sin(angle), abs=1e-6)
        assert values[16 + i].item() == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize(
    ("t", "abar"),
    [(0, 0.999990), (1, 0.997960), (10, 0.894035), (25, 0.512542), (50, 0.0693554), (75, 0.00229872), (99, 2.15e-5)],
)
def test_the_schedule_is_the_published_one(t: int, abar: float) -> None:
    assert alphas_cumprod()[t].item() == pytest.approx(abar, rel=5e-4, abs=1e-6)


def test_published_checkpoints_load_and_give_the_same_pictures(tmp_path: Path) -> None:
    predictor, denoiser = Predictor(Size(3, 8, 3)), ResidualDenoiser(Size(3, 8, 3))
    published(tmp_path, predictor, "model_init.pth")
    published(tmp_path, denoiser, "model_denoiser.pth")
    pair = read_pair(tmp_path)
    assert pair.channels == 3 and pair.denoiser is not None
    y = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(pair.predictor(y), predictor(y))
        given = torch.randn(1, 3, 24, 24), torch.tensor([42.0]), y
        torch.testing.assert_close(pair.denoiser(*given), denoiser(*given))


def test_weights_of_one_file_load_in_half_precision(tmp_path: Path) -> None:
    nets = {"predictor": Predictor(SMALL), "denoiser": ResidualDenoiser(SMALL)}
    packed = {f"{role}.{name}": v.half() for role, net in nets.items() for name, v in net.state_dict().items()}
    save_file(packed, tmp_path / "both.safetensors")
    pair = read_pair(tmp_path / "both.safetensors")
    assert pair.denoiser is not None
    for name, value in pair.denoiser.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value.half(), packed[f"denoiser.{name}"])


def test_a_denoiser_that_sees_the_degraded_picture_keeps_its_form_and_scale(tmp_path: Path) -> None:
    net = ResidualDenoiser(SMALL, sees_degraded=True)
    net.scale = torch.tensor(0.125)
    packed = {f"denoiser.{name}": value for name, value in net.state_dict().items()}
    packed |= {f"predictor.{name}": value for name, value in Predictor(SMALL).state_dict().items()}
    save_file(packed, tmp_path / "both.safetensors")
    denoiser = read_pair(tmp_path / "both.safetensors").denoiser
    assert denoiser is not None and denoiser.sees_degraded and denoiser.scale == 0.125
    restored, degraded = torch.rand(2, 1, SMALL.channels, 16, 16)
    assert denoiser.condition(restored, degraded).shape == (1, 2 * SMALL.channels, 16, 16)
    assert "scale" not in ResidualDenoiser(SMALL).state_dict()  # the published form


def test_a_published_denoiser_does_the_same_when_it_begins_to_see_the_degraded_picture() -> None:
    published = awake(ResidualDenoiser(SMALL)).float()
    seeing = load(ResidualDenoiser, seeing_degraded(published.state_dict()))
    residual, restored, degraded = torch.rand(3, 1, SMALL.channels, 16, 16)
    t = torch.tensor([7.0])
    with torch.no_grad():
        expected = published(residual, t, restored)
        torch.testing.assert_close(seeing(residual, t, seeing.condition(restored, degraded)), expected)


class Bomb:
    """What a pickle can do: call anything."""

    def __reduce__(self):
        return (pytest.fail, ("the pickle was executed",))


def test_a_pickle_of_other_objects_is_refused_unopened(tmp_path: Path) -> None:
    torch.save({"model_state_dict": Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb()))
    for name in ("bomb.pth", "plain.pth"):
        with pytest.raises(UsageError, match="not a readable checkpoint"):
            read_checkpoint(tmp_path / name)


def test_what_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    for content in (torch.zeros(3), {"model_state_dict": [torch.zeros(3)]}, {"iteration": 3}):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(UsageError, match="does not hold a state dict"):
            read_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    weights = Predictor(SMALL).state_dict()
    weights["middle_blks.0.beta"][:] = value
    with pytest.raises(UsageError, match="NaN or infinite"):
        load(Predictor, weights)


def test_weights_of_other_shapes_are_refused() -> None:
    weights = Predictor(SMALL).state_dict()
    short = {name: value for name, value in weights.items() if not name.startswith("middle_blks")}
    flat = weights | {"ending.weight": torch.zeros(4)}
    wide = weights | {"ending.weight": torch.zeros(1, 2**28, 1, 1)[:, :, :0]}
    deep = weights | {"downs.30000000.weight": torch.zeros(1)}
    for wrong, sentence in ((short, "do not fit"), (flat, "not a NAF-DPM"), (wide, "do not fit"), (deep, "levels")):
        with pytest.raises(UsageError, match=sentence):
            load(Predictor, wrong)
    with pytest.raises(UsageError, match="do not fit"):
        load(ResidualDenoiser, weights)
