"""What lies outside the edited region is the source."""

import pytest
import torch
from problems import MIXTURE
from tiny_transformer import CHANNELS, LENGTH, denoise, randoms, tiny
from torch import Tensor

from fastdiff.apps.edit.blend import AttendedRegion, Blended
from fastdiff.apps.edit.control import AttentionMaps, Control, TrackedWords
from fastdiff.apps.edit.controlled_denoiser import ControlledDenoiser
from fastdiff.solvers.denoiser import Network
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import grid, log_snr
from fastdiff.solvers.integration import Progress, integrate
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import CosineVP

LEVELS = grid(log_snr, MIXTURE.schedule, 5)
X = randoms(3, 1, 4, 4).double()


@pytest.mark.parametrize("name", ["ddim", "dpmpp-2m"])
def test_everything_inside_is_no_blending(name: str) -> None:
    blended = Blended(SOLVERS[name](), lambda: torch.ones(1, 1, 4, 4), LEVELS[0])
    assert torch.equal(integrate(MIXTURE, blended, X, LEVELS).x, integrate(MIXTURE, SOLVERS[name](), X, LEVELS).x)
    assert blended.order == SOLVERS[name]().order and not blended.stochastic


def test_outside_is_the_source_from_the_start_on() -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 2:] = 1
    states: list[Progress] = []
    integrate(MIXTURE, Blended(SOLVERS["ddim"](), lambda: mask, LEVELS[3]), X, LEVELS, watch=states.append)
    plain: list[Progress] = []
    integrate(MIXTURE, SOLVERS["ddim"](), X, LEVELS, watch=plain.append)
    for now, free in zip(states, plain, strict=True):
        assert torch.equal(now.x[0], free.x[0])
        blended = now.step.u.lam >= LEVELS[3].lam
        assert torch.equal(now.x[1:, ..., 2:], free.x[1:, ..., 2:])
        assert torch.equal(now.x[1:, ..., :2], free.x[[0, 0] if blended else [1, 2]][..., :2])


def region(*rows: list[list[float]], latents: tuple[int, int]) -> Tensor:
    maps = AttentionMaps()
    maps.total = torch.stack([torch.zeros(len(rows), len(rows[0]) * len(rows[0][0])), torch.tensor(rows).flatten(1)])
    return AttendedRegion(maps, 1, (len(rows[0]), len(rows[0][0])), latents)()[:, 0]


def test_a_word_is_heard_where_attention_is_near_its_highest_and_one_token_around() -> None:
    source: list[list[float]] = [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    target: list[list[float]] = [[8, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 2.3, 0]]  # 2.3 < 0.3 * 8
    apart = region(source, target, latents=(3, 5))
    assert not apart[0].any()
    assert apart[1].tolist() == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    source[2][4] = 1.0
    both = region(source, target, latents=(3, 5))
    assert both[1].tolist() == [[1, 1, 0, 0, 0], [1, 1, 0, 1, 1], [0, 0, 0, 1, 1]]
    assert region(source, target, latents=(6, 10)).shape == (2, 6, 10)


def test_nothing_heard_yet_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="after the first step"):
        AttendedRegion(AttentionMaps(), 0, (2, 2), (4, 4))()


def test_an_edit_keeps_what_its_words_do_not_reach() -> None:
    net, text = tiny(), randoms(2, LENGTH, CHANNELS)
    # some words are heard in some places, not all in all
    net.get_parameter("transformer_blocks.1.attn2.to_q.weight").mul_(100)
    network = Network(lambda x, t: denoise(net, x, text)[:, :4], CosineVP(), "v", lambda level: level.t)
    levels = grid(log_snr, network.schedule, 4)
    tokens = torch.zeros(1, 2, LENGTH)
    tokens[..., 3] = 1
    f = ControlledDenoiser(network, net, Control(rows=2, tracked=TrackedWords(tokens, range(1, 2), 64)), levels)
    heard = AttendedRegion(f.maps, 0, (8, 8), (16, 16))
    solver = Blended(SOLVERS["dpmpp-2m"](), heard, levels[2])
    source, target = integrate(f, solver, randoms(1, 4, 16, 16).expand(2, -1, -1, -1), levels).x
    outside = heard()[1].expand_as(target) == 0
    assert 0 < outside.float().mean() < 1
    assert torch.equal(target[outside], source[outside]) and not torch.equal(target, source)
