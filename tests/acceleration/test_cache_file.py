"""Files of caches: content, refusals, and files of strangers."""

from dataclasses import replace
from math import nan
from pathlib import Path

import pytest
import torch
from cached_runs import Runs
from safetensors.torch import save_file

from fastdiff.models.acceleration.cache_file import CachedRuns, CacheFile, read_cache_file, runs_of
from fastdiff.models.acceleration.preparation import prepare
from fastdiff.models.acceleration.registry import CACHES, Stack, Tokens
from fastdiff.models.acceleration.rules import TeaCache
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import grid, log_snr

RUNS = Runs()
MADE = runs_of("scenes", "f" * 64, "dpmpp-2m", 4.5, RUNS.levels)


def made(name: str) -> CacheFile:
    cache = prepare(name, 0.6, RUNS.calibration, RUNS.denoiser(), RUNS.network, dpmpp_2m(), RUNS.levels, RUNS.x)
    return CacheFile(cache, MADE, RUNS.calibration.changes, {"seeds": [0, 1, 2]})


@pytest.mark.parametrize("name", CACHES)
def test_a_cache_from_a_file_runs_as_the_one_that_was_saved(name: str, tmp_path: Path) -> None:
    file, path = made(name), tmp_path / "cache.safetensors"
    file.save(path)
    read = read_cache_file(path)
    cache = read.for_runs(runs_of("other name", "f" * 64, "dpmpp-2m", 4.5, RUNS.levels))
    assert torch.equal(RUNS.sampled(RUNS.cached(cache)), RUNS.sampled(RUNS.cached(file.cache)))
    assert torch.equal(read.changes, file.changes) and read.card == {"seeds": [0, 1, 2]} and read.runs == MADE
    again = tmp_path / "again.safetensors"
    read.save(again)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (replace(MADE, fingerprint="0" * 64), r"made for scenes \(network ffffffffffff\), and this network is 0{12}"),
        (replace(MADE, guidance=1.0), "made for guidance 4.5, and this is 1"),
        (replace(MADE, solver="unipc"), "made for dpmpp-2m, and this is unipc"),
        (replace(MADE, levels=MADE.levels[:-1]), "made for 12 steps, not 11"),
        (replace(MADE, levels=MADE.levels[::-1]), "other noise levels"),
        (
            runs_of("scenes", "f" * 64, "dpmpp-2m", 4.5, grid(log_snr, RUNS.denoiser().schedule, RUNS.steps)),
            "other noise levels",
        ),
    ],
)
def test_a_cache_is_refused_for_other_runs(other: CachedRuns, sentence: str) -> None:
    file = CacheFile(Stack(TeaCache(0.1)), MADE, RUNS.calibration.changes)
    with pytest.raises(UsageError, match=sentence):
        file.for_runs(other)
    assert file.for_runs(MADE) is file.cache


def test_other_files_and_damaged_ones_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "cache.safetensors"
    with pytest.raises(UsageError, match="is not a cache file"):
        read_cache_file(path)
    path.write_bytes(b"{}")
    with pytest.raises(UsageError, match="is not a cache file"):
        read_cache_file(path)
    save_file({"changes": torch.zeros(4, 12)}, path)
    with pytest.raises(UsageError, match="is not a cache file"):
        read_cache_file(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: replace(file, changes=file.changes[:, :-1]),
        lambda file: replace(file, changes=file.changes * float("nan")),
        lambda file: replace(file, changes=file.changes[:-1]),
        lambda file: replace(file, cache=replace(file.cache, schedule=replace(file.cache.schedule, scales=None))),
        lambda file: replace(file, cache=replace(file.cache, schedule=replace(file.cache.schedule, shares=(0.1,)))),
    ],
)
def test_content_that_does_not_fit_together_is_refused(change, tmp_path: Path) -> None:
    path = tmp_path / "cache.safetensors"
    change(made("blocks")).save(path)
    with pytest.raises(UsageError, match="is not a cache file, or it is damaged"):
        read_cache_file(path)


@pytest.mark.parametrize("cache", [Tokens(0.0, 2), Tokens(1.5, 2), Tokens(0.5, -1), Tokens(0.5, 13), Tokens(nan, 2)])
def test_settings_of_tokens_outside_of_their_range_are_refused(cache: Tokens, tmp_path: Path) -> None:
    path = tmp_path / "cache.safetensors"
    replace(made("tokens"), cache=cache).save(path)
    with pytest.raises(UsageError, match="is not a cache file, or it is damaged"):
        read_cache_file(path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cache.safetensors"
    made("teacache").save(path)
    content = path.read_bytes()
    assert content.count(b'\\"format\\": 1') == 1
    path.write_bytes(content.replace(b'\\"format\\": 1', b'\\"format\\": 2'))
    with pytest.raises(UsageError, match="of format 2: this version reads format 1"):
        read_cache_file(path)
