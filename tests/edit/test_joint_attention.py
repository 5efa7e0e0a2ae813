"""Attention control in networks with joint attention: Stable Diffusion 3 and 3.5, and FLUX."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny_flux
import tiny_sd3
import torch
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_flux import FluxAttention
from tiny_transformer import randoms
from torch import Tensor
from torch.nn.functional import softmax

from fastdiff.apps.edit.control import AttentionMaps, Control, CrossAttentionControl, Sharing, TrackedWords
from fastdiff.apps.edit.controlled_denoiser import ControlledDenoiser
from fastdiff.apps.edit.joint_processor import JointProcessor
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.apps.edit.sampling import Edit
from fastdiff.apps.edit.span import Shared, Span
from fastdiff.apps.edit.words import alignment
from fastdiff.models.diffusion_model import Conditioning
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.hooks import attention_layers
from fastdiff.models.registry import load_editable
from fastdiff.solvers.errors import UsageError

SIZE = (16, 24)  # pixels; 4 x 6 positions of the picture
PROMPTS = ["a fox on grass", "a cat on grass", "a dog"]
ALWAYS = Span(0, 1)
FAMILIES: dict[str, Callable[[Path], Path]] = {
    "sd3": tiny_sd3.write,
    "sd3-without-t5": partial(tiny_sd3.write, t5=False),
    "sd3.5": partial(tiny_sd3.write, qk_norm="rms_norm", dual_attention_layers=(0, 1)),
    "flux": tiny_flux.write,
}
LAYERS = {"sd3": (3, 3), "sd3-without-t5": (3, 3), "sd3.5": (5, 3), "flux": (4, 4)}  # all, and the joint ones
SHARED: tuple[Shared, ...] = ("qk", "kv", "qkv")


@dataclass(frozen=True)
class Case:
    """A model with the states of three pictures, two of which are targets of the first."""

    model: Any
    prompts: Conditioning
    x: Tensor

    def estimate(self, control: Control | None, rows: list[int], guidance: float = 3.0, step: int = 1) -> Tensor:
        """The estimates of some rows, by the network as it is or under control, of a run of four steps."""
        prompts, grid = self.prompts.take(rows), self.model.scheduler(SIZE).grid(4)
        f: Any = guided_denoiser(self.model, prompts, guidance, SIZE)
        if control is not None:
            f = ControlledDenoiser(f, self.model.network, control, grid)
        with torch.inference_mode():
            estimate: Tensor = f(self.x[rows], grid[step]).x0
        return estimate

    def control(self, rows: int = 2, **rules: Any) -> Control:
        return Control(rows, prompt_tokens=self.length, **rules)

    @property
    def length(self) -> int:
        return self.prompts.mask.shape[1]

    def words(self, held: float, until: float = 1.0, rows: int = 2) -> CrossAttentionControl:
        """Every token of each target takes the attention to the source's token at its place, or none does."""
        ones = torch.ones(rows - 1, 1, self.length)
        return CrossAttentionControl(held * torch.eye(self.length).repeat(rows - 1, 1, 1), ones, until * ones)


@pytest.fixture(scope="module", params=FAMILIES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with torch.inference_mode(False):
        model = load_editable(str(FAMILIES[request.param](tmp_path_factory.mktemp("model") / request.param)))
    with torch.inference_mode():
        yield Case(model, model.encode_prompts(PROMPTS), randoms(3, 16, 8, 12))


def sharing(shared: Shared, span: Span = ALWAYS, layers: range = range(9)) -> Sharing:
    return Sharing(((shared, span),), layers)


def rules(case: Case, rows: int = 2) -> dict[str, Control]:
    return {
        **{shared: case.control(rows, sharing=sharing(shared)) for shared in SHARED},
        "words": case.control(rows, cross_attention=case.words(1, rows=rows)),
        "both": case.control(rows, cross_attention=case.words(1, rows=rows), sharing=sharing("kv")),
    }


def test_every_layer_is_found(case: Case, request: pytest.FixtureRequest) -> None:
    layers = attention_layers(case.model.network)
    assert (len(layers), sum(layer.joint for layer in layers)) == LAYERS[request.node.callspec.params["case"]]
    assert [layer.index for layer in layers] == list(range(len(layers))) and not any(layer.cross for layer in layers)


def test_rules_that_do_not_apply_change_no_bit(case: Case) -> None:
    plain = case.estimate(None, [0, 1])
    for control in (
        case.control(),
        case.control(cross_attention=case.words(1, until=0)),
        case.control(sharing=sharing("qkv", Span(0, 0))),
        case.control(sharing=sharing("kv", layers=range(0))),
    ):
        assert torch.equal(case.estimate(control, [0, 1]), plain)


def test_maps_that_no_word_takes_are_those_of_the_network(case: Case) -> None:
    """The explicit map is that of the fused attention."""
    plain, explicit = case.estimate(None, [0, 1]), case.estimate(case.control(cross_attention=case.words(0)), [0, 1])
    torch.testing.assert_close(explicit, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_target_that_is_its_source_stays_that(guidance: float, case: Case) -> None:
    plain = case.estimate(None, [0, 0], guidance)
    for control in rules(case).values():
        torch.testing.assert_close(case.estimate(control, [0, 0], guidance), plain, rtol=1e-5, atol=1e-5)


def test_rules_change_targets_alone(case: Case) -> None:
    plain = case.estimate(None, [0, 1])
    for control in rules(case).values():
        source, target = case.estimate(control, [0, 1])
        torch.testing.assert_close(source, plain[0], rtol=1e-5, atol=1e-5)
        assert (target - plain[1]).abs().max() > 1e-3


def test_targets_in_one_batch_are_those_alone(case: Case) -> None:
    alone, together = rules(case), rules(case, 3)
    for name in alone:
        both = case.estimate(together[name], [0, 1, 2])
        for target in (1, 2):
            torch.testing.assert_close(both[[0, target]], case.estimate(alone[name], [0, target]), rtol=1e-5, atol=1e-5)


def inputs(case: Case, layer: Any, width: int) -> tuple[dict[str, Any], bool]:
    """Tokens for a layer of two rows, prompts and pictures of other lengths; True if it gets one sequence."""
    length, places = case.length, 24
    turned = torch.linspace(0, 5, (length + places) * 16).reshape(-1, 16)
    rotary = {"image_rotary_emb": (turned.cos(), turned.sin())} if isinstance(layer.module, FluxAttention) else {}
    if layer.module.pre_only:
        return {"hidden_states": randoms(2, length + places, width), **rotary}, True
    return {
        "hidden_states": randoms(2, places, width),
        "encoder_hidden_states": randoms(2, length, width, seed=1),
        **rotary,
    }, False


def projected(attn: Any, x: Tensor, names: str, rotary: Any, norms: str) -> list[Any]:
    """Queries, keys and values (B, heads, N, d)."""
    found = []
    for name in "qkv":
        each = getattr(attn, names.format(name))(x).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        norm = getattr(attn, norms.format(name), None)
        each = each if norm is None else norm(each)
        found.append(each if rotary is None or name == "v" else apply_rotary_emb(each, rotary))
    return found


@pytest.mark.parametrize("shared", [None, *SHARED])
def test_the_map_of_a_target_is_that_of_its_source_where_it_is_replaced(shared: Shared | None, case: Case) -> None:
    """Against softmax(Q K^T / sqrt(d)) of all tokens, the part from the picture to the prompt replaced by hand."""
    width, length = case.model.network.inner_dim, case.length
    matrix = torch.rand(1, length, length, generator=torch.Generator().manual_seed(0)) / length
    rule = CrossAttentionControl(matrix, 2 * torch.ones(1, 1, length), torch.ones(1, 1, length))
    for layer in attention_layers(case.model.network):
        if not layer.joint:
            continue
        attn, (given, single) = layer.module, inputs(case, layer, width)
        rotary = given.get("image_rotary_emb")
        prompt = given["hidden_states"][:, :length] if single else given["encoder_hidden_states"]
        picture = given["hidden_states"][:, length:] if single else given["hidden_states"]
        first, rest = (None, None) if rotary is None else ([r[:length] for r in rotary], [r[length:] for r in rotary])
        names = ("to_{}", "norm_{}") if single else ("add_{}_proj", "norm_added_{}")
        tokens, places = (
            projected(attn, prompt, names[0], first, names[1]),
            projected(attn, picture, "to_{}", rest, "norm_{}"),
        )
        own = [torch.cat(pair, dim=2) for pair in zip(tokens, places, strict=True)]
        maps = softmax(own[0] @ own[1].mT / own[0].shape[-1] ** 0.5, dim=-1)
        by_tokens = (maps @ own[2])[:, :, :length]
        taken = [
            each[:1].expand_as(each) if shared and name in shared else each
            for name, each in zip("qkv", places, strict=True)
        ]
        q, k, v = taken[0], *(torch.cat(pair, dim=2) for pair in zip(tokens[1:], taken[1:], strict=True))
        maps = softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)
        maps[1, :, :, :length] = 2 * maps[0, :, :, :length] @ matrix[0]
        by_places = maps @ v
        expected = [each.transpose(1, 2).flatten(2) for each in (by_tokens, by_places)]
        control = case.control(cross_attention=rule)
        made = JointProcessor(control, shared, rule.at(0, 1), None, AttentionMaps())(attn, **given)
        if single:
            made = made.split([length, picture.shape[1]], dim=1)
        else:
            expected = [
                expected[0] if attn.to_add_out is None else attn.to_add_out(expected[0]),
                attn.to_out[0](expected[1]),
            ]
            made = made[::-1]
        for ours, theirs in zip(made, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_maps_of_words_are_sums_of_the_attention_to_them(case: Case) -> None:
    """Of a picture, over heads and layers; a share of the attention is on the picture itself."""
    layers, maps = attention_layers(case.model.network), AttentionMaps()
    tracked = TrackedWords(torch.ones(1, 2, case.length), [layer.index for layer in layers], positions=24)
    grid = case.model.scheduler(SIZE).grid(4)
    f = guided_denoiser(case.model, case.prompts.take([0, 1]), 3.0, SIZE)
    ControlledDenoiser(f, case.model.network, case.control(tracked=tracked), grid, maps)(case.x[:2], grid[1])
    joint = sum(layer.joint for layer in layers)
    assert case.model.map_grid(case.x) == (4, 6)
    assert maps.total is not None and maps.total.shape == (1, 2, 24)
    assert (maps.total > 0).all() and (maps.total < 2 * joint).all()  # two heads


def test_words_are_aligned_for_every_text_encoder(case: Case) -> None:
    source, target = (case.model.encode_prompts([text]) for text in PROMPTS[:2])
    matrix, parts = alignment(source, target), (*source.starts, case.length)
    assert matrix.shape == (case.length, case.length)
    fox, cat = source.words[0][1], target.words[0][1]
    assert (fox.text, cat.text) == ("fox", "cat")
    both = len(source.starts) > 1 and case.model.t5 is not None
    for start, end in pairwise(parts):
        rows, columns = ([token for token in word.tokens if start <= token < end] for word in (fox, cat))
        assert bool(columns) == (both or start == 0)
        for column in columns:
            assert matrix[rows, column].sum() == pytest.approx(
                len(rows) / len(columns) if len(rows) != len(columns) else 1
            )
        assert not matrix[:start, start:end].any() and not matrix[end:, start:end].any()
        padding = range(max(len(source.ids[0]), len(target.ids[0])), end)
        assert all(matrix[place, place] == 1 for place in padding if place >= start)
    torch.testing.assert_close(alignment(source, source), torch.eye(case.length))


def edit(case: Case, preset: str, target: str, **changes: Any) -> Edit:
    shown, wished = (case.model.encode_prompts([text]) for text in (PROMPTS[0], target))
    chosen = replace(PRESETS[preset], **{"steps": 4, "guidance": 1.0, "strength": 0.6, "contrast": False} | changes)
    return Edit(case.model, chosen, case.x[:1], SIZE, shown, wished, seed=3)


@pytest.mark.parametrize("preset", ["dit4edit-exact", "edit-friendly", "direct-p2p", "masactrl"])
def test_an_edit_to_the_same_prompt_is_the_run_of_the_source(preset: str, case: Case) -> None:
    same, other = (edit(case, preset, prompt, pinned=False) for prompt in PROMPTS[:2])
    inversion = same.invert()
    sampled = same.sample(inversion, lambda now: None)
    assert sampled.source is not None
    torch.testing.assert_close(sampled.latents, sampled.source, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sampled.source, same.regenerate(inversion), rtol=1e-5, atol=1e-5)
    edited = other.sample(inversion, lambda now: None)
    assert (edited.latents - sampled.latents).abs().max() > 1e-3


def test_an_edit_without_strength_is_the_plain_run(case: Case) -> None:
    off = {"cross_attention": 0.0, "self_attention": (("qk", Span(0, 0)),)}
    plain = {"cross_attention": 0.0, "self_attention": ()}
    inversion = edit(case, "direct-p2p", PROMPTS[1]).invert()
    controlled, alone = (
        edit(case, "direct-p2p", PROMPTS[1], **each).sample(inversion, lambda now: None) for each in (off, plain)
    )
    assert controlled.source is not None and alone.source is None
    torch.testing.assert_close(controlled.latents, alone.latents, rtol=1e-5, atol=1e-5)


def test_guidance_in_a_part_of_the_picture_needs_an_unconditional_estimate(case: Case) -> None:
    if case.model.guidance_kind == "classifier-free":
        edit(case, "ledits", PROMPTS[1], focus=0.5)
    else:
        with pytest.raises(UsageError, match=r"no unconditional estimate: leave out .* --focus"):
            edit(case, "ledits", PROMPTS[1], focus=0.5)
