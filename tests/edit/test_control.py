"""Attention under control in a real transformer: as it was where no rule applies, as the rules say where one does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention
from tiny_transformer import CHANNELS, LENGTH, denoise, randoms, tiny
from torch import Tensor, nn
from torch.nn.functional import softmax

from fastdiff.apps.edit.control import AttentionMaps, Control, CrossAttentionControl, Sharing, TrackedWords
from fastdiff.apps.edit.controlled_denoiser import ControlledDenoiser
from fastdiff.apps.edit.span import Shared, Span
from fastdiff.apps.edit.token_merging import destinations, match
from fastdiff.models.hooks import attention_layers, hooked_attention
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.grids import grid, time_uniform
from fastdiff.solvers.schedule import CosineVP, Level

NET = tiny()
ALWAYS, NEVER, LAYERS = Span(0, 1), Span(0, 0), range(3)
SHARED: tuple[Shared, ...] = ("qk", "kv", "qkv")
MASK = torch.tensor([[True] * 4 + [False] * 2] * 4)
ONES = torch.ones(1, 1, LENGTH)
IDENTITY = CrossAttentionControl(torch.eye(LENGTH)[None], ONES, until=ONES)
UNTOUCHED = CrossAttentionControl(torch.zeros(1, LENGTH, LENGTH), ONES, until=ONES)
HEARD = TrackedWords(torch.ones(1, 2, LENGTH), LAYERS, positions=16)
MERGING = match(randoms(16, 5), destinations(4, 4, seed=0), 0.4)


LEVELS = grid(time_uniform, CosineVP(), 4)


class Recording(AttentionMaps):
    """Keeps the attention that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def add(self, probabilities: Tensor, tracked: TrackedWords) -> None:
        super().add(probabilities, tracked)
        self.seen.append(probabilities)


def control(**rules: Any) -> Control:
    return replace(Control(rows=2), **rules)


def self_attention(block: int) -> Attention:
    layer = NET.get_submodule(f"transformer_blocks.{block}.attn1")
    assert isinstance(layer, Attention)
    return layer


def sharing(shared: Shared, span: Span = ALWAYS, layers: range = LAYERS) -> Sharing:
    return Sharing(((shared, span),), layers)


@dataclass(frozen=True, eq=False)
class Output:
    """A denoiser whose estimates are the outputs of the network, at time 500 whatever the level."""

    text: Tensor
    schedule = CosineVP()
    batched = True
    sequential = False

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        return self.at_levels(x[None], [level])[0]

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        count, rows = states.shape[:2]
        text, mask = self.text.repeat(count, 1, 1), MASK[:rows].repeat(count, 1)
        return [Estimate(out, out) for out in denoise(NET, states.flatten(0, 1), text, mask).unflatten(0, (count, -1))]

    def fresh(self) -> "Output":
        return self


def controlled(rules: Control, text: Tensor, maps: AttentionMaps | None = None) -> ControlledDenoiser:
    return ControlledDenoiser(Output(text), NET, rules, LEVELS, maps or AttentionMaps())


def run(rules: Control, x: Tensor, text: Tensor, step: int = 0, maps: AttentionMaps | None = None) -> Tensor:
    return controlled(rules, text, maps).fresh()(x, LEVELS[step]).x0


def attend(rules: Control, attention: nn.Module, tokens: Tensor) -> Tensor:
    """The attention of one layer at the first step."""
    f = controlled(rules, TEXT)
    with hooked_attention(attention_layers(NET), lambda layer, processor: f.attention(layer, processor, LEVELS[0])):
        return attention(tokens)


X = randoms(4, 4, 8, 8)  # without prompts: source, target; with prompts: source, target
TEXT = randoms(4, LENGTH, CHANNELS, seed=1)
PLAIN = denoise(NET, X, TEXT, MASK)
OFF = [
    control(),
    control(cross_attention=replace(IDENTITY, until=0 * ONES)),
    control(sharing=sharing("qkv", NEVER)),
    control(sharing=sharing("kv", layers=range(0))),
    control(tracked=replace(HEARD, layers=range(0))),
    control(merging=match(randoms(16, 5), destinations(4, 4, seed=0), 0)),
]
RULES = [
    *(control(sharing=sharing(shared)) for shared in SHARED),
    control(cross_attention=IDENTITY),
    control(merging=MERGING),
    control(cross_attention=IDENTITY, sharing=sharing("kv"), merging=MERGING, tracked=HEARD),
]


@pytest.mark.parametrize("rules", OFF)
def test_rules_that_do_not_apply_change_no_bit(rules: Control) -> None:
    assert torch.equal(run(rules, X, TEXT), PLAIN)


@pytest.mark.parametrize("halves", [1, 2])
@pytest.mark.parametrize("rules", RULES)
def test_a_target_that_is_its_source_stays_that(rules: Control, halves: int) -> None:
    x, text = (rows[[0, 0, 2, 2]][-2 * halves :] for rows in (X[[0, 0, 0, 0]], TEXT))
    source, target = run(rules, x, text).unflatten(0, (halves, 2)).unbind(1)
    torch.testing.assert_close(target, source, rtol=0, atol=1e-6)


def test_a_locked_target_is_its_source_exactly() -> None:
    x, text = X[[0, 0, 0, 0]], TEXT[[0, 0, 2, 2]]
    source, target = run(control(sharing=sharing("qkv")), x, text).unflatten(0, (2, 2)).unbind(1)
    assert torch.equal(target, source)


@pytest.mark.parametrize("rules", RULES[:4])
def test_the_source_goes_its_own_way(rules: Control) -> None:
    torch.testing.assert_close(run(rules, X, TEXT)[[0, 2]], PLAIN[[0, 2]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("shared", SHARED)
def test_shared_attention_is_that_of_queries_keys_and_values_of_its_rows(shared: Shared) -> None:
    attention, tokens = self_attention(1), randoms(4, 16, 16)
    attended = attend(control(sharing=sharing(shared)), attention, tokens)
    for target, source in ((1, 0), (3, 2)):
        q, k, v = (
            layer(tokens[source if name in shared else target]).unflatten(1, (2, 8)).transpose(0, 1)
            for name, layer in (("q", attention.to_q), ("k", attention.to_k), ("v", attention.to_v))
        )
        heads = softmax(q @ k.mT / 8**0.5, dim=-1) @ v
        expected = attention.to_out[0](heads.transpose(0, 1).flatten(1))
        torch.testing.assert_close(attended[target], expected, rtol=0, atol=1e-5)


def test_mutual_attention_never_asks_for_the_targets_own_content() -> None:
    attention, tokens, seen = self_attention(2), randoms(4, 16, 16), list[Tensor]()
    hooks = [
        layer.register_forward_hook(lambda _, given, out: seen.append(given[0]))
        for layer in (attention.to_k, attention.to_v)
    ]
    attend(control(sharing=sharing("kv")), attention, tokens)
    for hook in hooks:
        hook.remove()
    assert all(torch.equal(given, tokens.unflatten(0, (2, 2))[:, :1]) for given in seen) and len(seen) == 2


def test_explicit_attention_to_words_is_the_fused_one() -> None:
    torch.testing.assert_close(run(control(cross_attention=UNTOUCHED), X, TEXT), PLAIN, rtol=0, atol=1e-5)


def attention_to_words(cross_attention: CrossAttentionControl, step: int = 0) -> tuple[Tensor, Tensor]:
    """Of the source and the target in the first block, (heads, N, L) each."""
    maps = Recording()
    run(control(cross_attention=cross_attention, tracked=HEARD), X, TEXT, step, maps)
    source, target = maps.seen[0]
    return source, target


def test_a_target_of_which_every_word_is_the_sources_hears_as_the_source() -> None:
    source, target = attention_to_words(IDENTITY)
    assert torch.equal(target, source) and not torch.equal(*attention_to_words(UNTOUCHED))
    torch.testing.assert_close(source.sum(-1), torch.ones(2, 16))


def test_new_tokens_hear_for_themselves_and_emphasis_is_not_normalised_away() -> None:
    matrix, scale = torch.eye(LENGTH)[None].clone(), ONES.clone()
    matrix[0, 1, 1], scale[0, 0, 2] = 0, 3
    source, own = attention_to_words(UNTOUCHED)
    _, target = attention_to_words(CrossAttentionControl(matrix, scale, until=ONES))
    torch.testing.assert_close(target[..., 1], own[..., 1], rtol=0, atol=0)
    torch.testing.assert_close(target[..., 2], 3 * source[..., 2], rtol=0, atol=0)
    torch.testing.assert_close(target[..., 0], source[..., 0], rtol=0, atol=0)


def test_every_token_is_let_go_at_its_own_step_and_emphasis_stays() -> None:
    until, scale = 0.8 * ONES, ONES.clone()  # of 4 steps, 3
    until[0, 0, 1], until[0, 0, 4], scale[0, 0, 3] = 0.25, 0, 2
    rules = CrossAttentionControl(torch.eye(LENGTH)[None], scale, until)
    for step, held in enumerate(([0, 1, 2, 3], [0, 2, 3], [0, 2, 3], [])):
        source, own = attention_to_words(UNTOUCHED, step)
        _, target = attention_to_words(rules, step)
        for token in range(4):
            expected = (source if token in held else own)[..., token] * scale[0, 0, token]
            torch.testing.assert_close(target[..., token], expected, rtol=0, atol=0)


def test_words_are_changed_in_the_rows_that_have_them() -> None:
    changed = run(control(cross_attention=IDENTITY), X, TEXT)
    torch.testing.assert_close(changed[:3], PLAIN[:3], rtol=0, atol=1e-5)
    assert (changed[3] - PLAIN[3]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("span", "steps", "held"),
    [
        (Span(0, 0.8), 10, range(8)),
        (Span(0.2, 1), 10, range(2, 10)),
        (Span(0, 0.55), 20, range(11)),
        (NEVER, 3, range(0)),
    ],
)
def test_a_span_is_a_run_of_steps(span: Span, steps: int, held: range) -> None:
    assert [step for step in range(steps) if span.holds(step, steps)] == list(held)


def test_the_switch_of_dit4edit_comes_at_its_step() -> None:
    rules = Sharing((("qkv", Span(0, 0.5)), ("kv", ALWAYS)), range(1, 3))
    assert [rules.at(1, step, 4) for step in range(4)] == ["qkv", "qkv", "kv", "kv"] and rules.at(0, 0, 4) is None
    whole = control(sharing=rules)
    steps: list[tuple[int, Shared]] = [(1, "qkv"), (2, "kv")]
    for step, shared in steps:
        assert torch.equal(
            run(whole, X, TEXT, step), run(control(sharing=sharing(shared, layers=range(1, 3))), X, TEXT)
        )


def test_targets_do_not_meet() -> None:
    """Both targets in one batch come out as each alone does."""
    both = run(Control(rows=3, cross_attention=IDENTITY, sharing=sharing("kv"), merging=MERGING), X[:3], TEXT[:3])
    for target in (1, 2):
        rows = [0, target]
        alone = run(control(cross_attention=IDENTITY, sharing=sharing("kv"), merging=MERGING), X[rows], TEXT[rows])
        torch.testing.assert_close(both[rows], alone, rtol=0, atol=1e-5)


def test_merging_is_the_same_at_inversion_and_beside_targets() -> None:
    alone = run(Control(rows=1, merging=MERGING), X[2:3], TEXT[2:3])
    beside = run(control(merging=MERGING, sharing=sharing("kv")), X, TEXT)[2:3]
    torch.testing.assert_close(beside, alone, rtol=0, atol=1e-5)
    assert (alone - PLAIN[2:3]).abs().max() > 1e-3


def test_oblong_pictures_have_as_many_tokens_as_patches() -> None:
    x, merging = randoms(2, 4, 8, 12), match(randoms(24, 5), destinations(4, 6, seed=0), 0.3)
    rules, maps = control(merging=merging, sharing=sharing("kv"), tracked=replace(HEARD, positions=24)), AttentionMaps()
    assert run(rules, x, TEXT[:2], maps=maps).shape == (2, 8, 8, 12)
    assert maps.total is not None and maps.total.shape == (1, 2, 24)
    everything = torch.full((1, 2, 24), 2.0 * 3)  # heads times blocks: all words were tracked
    torch.testing.assert_close(maps.total, everything)


def test_a_run_begins_afresh_and_leaves_nothing_behind() -> None:
    f = controlled(control(cross_attention=IDENTITY, sharing=sharing("kv"), merging=MERGING, tracked=HEARD), TEXT)
    first, maps = f.fresh()(X, LEVELS[0]).x0, f.maps.total
    f(X.flip(0), LEVELS[1])
    assert maps is not None and f.maps.total is not None and not torch.equal(f.maps.total, maps)
    assert torch.equal(f.fresh()(X, LEVELS[0]).x0, first) and torch.equal(f.maps.total, maps)
    assert torch.equal(denoise(NET, X, TEXT, MASK), PLAIN)


@pytest.mark.parametrize("rules", RULES)
def test_states_of_many_levels_are_controlled_at_the_step_of_each(rules: Control) -> None:
    f, levels = controlled(rules, TEXT), LEVELS[:4]
    together = f.at_levels(torch.stack([X, X.flip(-1), X.flip(-2), -X]), levels)
    assert f.batched is (rules.sharing is None and rules.cross_attention is None)
    for x, level, estimate in zip((X, X.flip(-1), X.flip(-2), -X), levels, together, strict=True):
        torch.testing.assert_close(estimate.x0, f(x, level).x0, rtol=0, atol=1e-5)


def test_processors_come_back_whatever_happens() -> None:
    before = NET.attn_processors
    with pytest.raises(UsageError, match=r"batch of 3.*2 rows"):
        run(control(sharing=sharing("kv")), X[:3], TEXT[:3])
    outer = controlled(control(sharing=sharing("kv")), TEXT)
    inner = replace(outer, inner=ControlledDenoiser(outer.inner, NET, control(), LEVELS))
    assert torch.equal(inner(X, LEVELS[0]).x0, outer(X, LEVELS[0]).x0)
    after = NET.attn_processors
    assert before.keys() == after.keys() and all(before[name] is after[name] for name in before)
    assert torch.equal(denoise(NET, X, TEXT, MASK), PLAIN)


def test_gradients_pass() -> None:
    x = X.clone().requires_grad_()
    run(RULES[-1], x, TEXT)[3].sum().backward()
    assert x.grad is not None and all(x.grad[row].abs().max() > 0 for row in (2, 3)) and not x.grad[:2].any()
