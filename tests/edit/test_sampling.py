"""Edits in the latents of a tiny PixArt: inversion and way back, what the source is needed for, previews."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import tiny_pixart
import torch
from tiny_transformer import randoms
from torch import Tensor, nn

from fastdiff.apps.edit.edit_request import EditRequest
from fastdiff.apps.edit.editor import Editor
from fastdiff.apps.edit.presets import PRESETS, PREVIEW, Preset
from fastdiff.apps.edit.processors import compile_around_attention
from fastdiff.apps.edit.sampling import Edit
from fastdiff.apps.edit.settings import EditSettings
from fastdiff.inversion.registry import FLOW_ONLY, INVERTERS
from fastdiff.models.diffusion_model import EditableModel
from fastdiff.models.registry import load_editable
from fastdiff.solvers.integration import Progress

BOUNDS = {"ddim": 1.0, "reversed": 1.0, "fixed-point": 1e-4, "backward-euler": 0.3}  # of a round trip in 6 steps
BOUNDS |= dict.fromkeys(EXACT := ("edit-friendly", "ledits", "lcm", "o-belm"), 1e-5)
ON_ANY_MODEL = [name for name in INVERTERS if name not in FLOW_ONLY]
WORKING = [name for name, preset in PRESETS.items() if preset.inversion not in FLOW_ONLY]
SOURCE, TARGET = "a fox on grass", "a cat on grass"
MASK = torch.zeros(1, 1, 8, 12)
MASK[..., 6:] = 1


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> EditableModel:
    return load_editable(str(tiny_pixart.write(tmp_path_factory.mktemp("model") / "tiny")))


def edit(backbone: EditableModel, preset: Preset, source: str = SOURCE, target: str = TARGET, **options: Any) -> Edit:
    """Of latents of unit scale for 64 x 96 pixels."""
    latents = randoms(1, 4, 8, 12)
    shown, wished = backbone.encode_prompts([source]), backbone.encode_prompts([target])
    return Edit(backbone, preset, latents, (64, 96), shown, wished, seed=3, **options)


def short(name: str, **changes: Any) -> Preset:
    """In few steps, from levels where a random network does not blow up."""
    return replace(PRESETS[name], **{"steps": 6, "strength": 0.4} | changes)


def sampled(edit: Edit, watch: Callable[[Progress], None] = lambda now: None) -> Tensor:
    with torch.inference_mode():
        return edit.sample(edit.invert(), watch).latents


def off(got: Tensor, wanted: Tensor) -> float:
    """Relative to the largest value."""
    return float((got - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("merge", [0.0, 0.4])
@pytest.mark.parametrize("inversion", ON_ANY_MODEL)
def test_a_picture_comes_back_from_its_inversion(backbone: EditableModel, inversion: str, merge: float) -> None:
    mine = edit(backbone, short("direct-p2p", inversion=inversion, merge=merge))
    with torch.inference_mode():
        miss = off(mine.regenerate(mine.invert()), mine.latents)
    assert miss < BOUNDS[inversion]


@pytest.mark.parametrize("inversion", ON_ANY_MODEL)
def test_offsets_hold_the_source_on_its_path_at_every_step(backbone: EditableModel, inversion: str) -> None:
    mine = edit(backbone, short("direct-p2p", inversion=inversion))
    states: list[Progress] = []
    with torch.inference_mode():
        path = mine.invert()
        end = mine.sample(path, states.append)
    assert all(torch.equal(now.x[:1], path.trajectory[now.step.index + 1]) for now in states) and len(states) == 6
    assert end.source is not None and torch.equal(end.source, mine.latents)
    assert off(end.latents, mine.latents) > 0.01


@pytest.mark.parametrize("name", WORKING)
def test_a_prompt_that_stays_gives_the_picture_back(backbone: EditableModel, name: str) -> None:
    """At the guidance of the source: the target then does as the source does, whatever ties the two."""
    same = edit(backbone, short(name, guidance=1.0), target=SOURCE)
    assert off(sampled(same), same.latents) < BOUNDS[PRESETS[name].inversion]


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("name", WORKING)
def test_exactly_the_steps_asked_for_are_run(backbone: EditableModel, name: str, strength: float) -> None:
    steps: list[Progress] = []
    mine = edit(backbone, short(name, steps=5, strength=strength))
    sampled(mine, steps.append)
    assert len(steps) == 5 and steps[-1].step.u == backbone.trained.schedule.level(backbone.trained.schedule.end)
    assert mine.grid[0].t == pytest.approx(strength, abs=1e-3)


def rows(backbone: EditableModel, run: Callable[[], object]) -> list[int]:
    """Of the batches that the transformer gets."""
    seen: list[int] = []
    hook = backbone.network.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    run()
    hook.remove()
    return seen


def test_the_source_is_sampled_only_where_the_edit_asks_for_it(backbone: EditableModel) -> None:
    free = edit(backbone, short("ledits"))
    beside = replace(free, mask=torch.ones(1, 1, 8, 12))  # which changes nothing
    assert rows(backbone, lambda: sampled(free)) == [6] + 6 * [2]  # all states at once, then two halves of one row
    assert rows(backbone, lambda: sampled(beside)) == [6] + 6 * [4]
    assert off(sampled(free), sampled(beside)) < 1e-4
    for asks in (
        replace(free, blend=("fox", "cat")),
        replace(free, emphasize=("cat:2",)),
        replace(free, release=("cat:0.2",)),
    ):
        assert rows(backbone, partial(sampled, asks))[-1] == 4
    assert rows(backbone, lambda: sampled(edit(backbone, short("ledits", focus=0.5))))[-1] == 4


def test_the_background_is_the_sources_outside_a_mask(backbone: EditableModel) -> None:
    mine = edit(backbone, short("ledits"), mask=MASK)
    got = sampled(mine)
    assert torch.equal(got[..., :6], mine.latents[..., :6]) and off(got[..., 6:], mine.latents[..., 6:]) > 0.01


@pytest.mark.parametrize("name", ["ledits", "edit-friendly"])
def test_a_preview_starts_from_the_noise_of_the_whole_run_and_passes_its_states(
    backbone: EditableModel, name: str
) -> None:
    whole = edit(backbone, short(name, steps=12))
    first = replace(whole, preview=True)
    with torch.inference_mode():
        path, few = whole.invert(), first.invert()
    at = [whole.grid.index(level) for level in first.grid]
    assert first.steps == PREVIEW == len(at) - 1 and (at[0], at[-1]) == (0, 12)
    assert torch.equal(few.trajectory, path.trajectory[at])
    assert rows(backbone, lambda: sampled(first)) == [4] + 4 * [2 if name == "ledits" else 4]


def test_a_preview_takes_no_more_than_half_the_steps(backbone: EditableModel) -> None:
    for steps, half in ((1, 1), (2, 1), (5, 3), (7, 4), (40, PREVIEW)):
        assert edit(backbone, short("ledits", steps=steps), preview=True).steps == half


def test_words_let_go_and_emphasized_change_the_edit(backbone: EditableModel) -> None:
    mine = edit(backbone, short("direct-p2p", self_attention=()))
    plain = sampled(mine)
    for asked in ({"release": ("grass:0",)}, {"emphasize": ("grass:3",)}, {"release": ("on:0", "grass:0", "a:0")}):
        assert off(sampled(replace(mine, **asked)), plain) > 1e-3, asked
    alone = edit(backbone, short("ledits"))
    assert off(sampled(replace(alone, emphasize=("grass:3",))), sampled(alone)) > 1e-3


@pytest.mark.parametrize(("preset", "calls"), [("ledits", 1 + 8), ("direct-p2p", 8 + 8)])
def test_progress_is_told_call_by_call(backbone: EditableModel, preset: str, calls: int) -> None:
    told: list[float] = []
    editor = Editor(EditSettings(backbone.name, replace(PRESETS[preset], steps=8), preset))
    editor(randoms(1, 3, 64, 96).clamp(-1, 1), EditRequest(TARGET, SOURCE), 0, None, told.append)
    assert told == pytest.approx([number / calls for number in range(1, calls + 1)])


def test_processors_come_back_after_an_edit_that_failed(backbone: EditableModel) -> None:
    network: Any = backbone.network
    before = network.attn_processors

    def failing(now: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sampled(edit(backbone, short("dit4edit")), failing)
    after = network.attn_processors
    assert before.keys() == after.keys() and all(before[name] is after[name] for name in before)


def test_nothing_is_compiled_again_for_another_step_or_edit(backbone: EditableModel) -> None:
    compiled: list[int] = []

    def backend(module: nn.Module, inputs: list[Tensor]) -> Callable[..., object]:
        compiled.append(len(inputs))
        return module.forward

    other = load_editable(backbone.name)
    mine = edit(other, short("dit4edit"))
    plain = sampled(mine)
    torch.compiler.reset()
    compile_around_attention(other.network, backend)
    assert torch.equal(sampled(mine), plain)
    count = len(compiled)
    assert count > 0
    sampled(edit(other, short("dit4edit", guidance=2.0), target="a dog"))
    assert len(compiled) == count
