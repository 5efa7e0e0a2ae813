"""Digests of files and model folders, and their cache, on real files."""

import os
import shutil
import time
from pathlib import Path

import pytest
import tiny_unet

from fastdiff.models import digest, digest_cache
from fastdiff.solvers.errors import UsageError

LARGE = digest.CACHED_FROM


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return digest_cache.folder()


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Three files of zeros that are large enough to be cached, and were changed long enough ago."""
    folder = tmp_path_factory.mktemp("settled")
    files = tuple(folder / name for name in ("written", "replaced", "left"))
    for path in files:
        path.write_bytes(bytes(LARGE))
    time.sleep(digest_cache.RACY + 0.1)  # the time of change of an inode cannot be set
    return files


@pytest.fixture
def large(settled: tuple[Path, ...]) -> Path:
    """A file that the test does not change."""
    return settled[2]


def poison(cache: Path) -> None:
    """Put another digest into the only entry, so that taking it from there shows."""
    (entry,) = cache.iterdir()
    text = entry.read_text()
    at = text.index('"sha256": "') + len('"sha256": "')
    entry.write_text(text[:at] + "0" * 64 + text[at + 64 :])


ZEROS = "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58"  # sha256sum of 2**20 zeros


def test_a_large_file_is_hashed_once(large: Path, tmp_path: Path, cache: Path) -> None:
    assert digest.of_file(large) == ZEROS
    poison(cache)
    assert digest.of_file(large) == "0" * 64
    (tmp_path / "link").symlink_to(large)
    assert digest.of_file(tmp_path / "link") == "0" * 64, "the entry is that of the file behind the link"


def test_a_file_that_was_changed_in_place_is_hashed(settled: tuple[Path, ...]) -> None:
    """Its size, inode and time of modification stay; that of change does not."""
    path = settled[0]
    assert digest.of_file(path) == ZEROS
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"1")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    now = path.stat()
    assert (now.st_size, now.st_ino, now.st_mtime_ns) == (before.st_size, before.st_ino, before.st_mtime_ns)
    assert digest.of_file(path) != ZEROS


def test_a_file_that_was_replaced_is_hashed(settled: tuple[Path, ...]) -> None:
    path = settled[1]
    assert digest.of_file(path) == ZEROS
    before, other = path.stat(), path.with_name("other")
    other.write_bytes(b"1" * LARGE)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert digest.of_file(path) != ZEROS


def test_recent_changes_and_small_files_are_not_cached(tmp_path: Path, cache: Path) -> None:
    recent, small = tmp_path / "recent", tmp_path / "small"
    recent.write_bytes(bytes(LARGE))
    small.write_bytes(bytes(LARGE - 1))
    assert digest.of_file(recent) == ZEROS != digest.of_file(small)
    assert not cache.exists()


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"[]", b'{"sha256": "0"}', b"null", b"[" * 100_000])
def test_a_damaged_entry_counts_as_absent(damage: bytes, large: Path, cache: Path) -> None:
    digest.of_file(large)
    (entry,) = cache.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(damage)
    assert digest.of_file(large) == ZEROS
    assert entry.read_bytes() == whole and len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_does_no_harm(large: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder belongs")
    assert digest.of_file(large) == ZEROS
    assert (tmp_path / "cache").read_text() == "a file where the folder belongs"


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*absent"):
        digest.of_file(tmp_path / "absent")


def test_a_model_is_what_it_is_loaded_from(tmp_path: Path) -> None:
    model = tiny_unet.write_prior(tmp_path / "model")
    before = digest.of_model(model)

    assert digest.of_model(Path(shutil.copytree(model, tmp_path / "copy"))) == before
    for stranger in ("README.md", ".cache/time", "other.safetensors", "unet/old.bin", "unet/x.fp16.safetensors"):
        (model / stranger).parent.mkdir(exist_ok=True)
        (model / stranger).write_text("new")
    assert digest.of_model(model) == before

    config = model / "unet" / "config.json"
    config.rename(tmp_path / "blob")
    config.symlink_to(tmp_path / "blob")
    assert digest.of_model(model) == before
    (tmp_path / "blob").write_text(config.read_text() + "\n")
    assert digest.of_model(model) != before

    renamed = tmp_path / "copy" / "unet" / "config.json"
    renamed.rename(renamed.with_name("config2.json"))
    assert digest.of_model(tmp_path / "copy") != before


def test_a_folder_without_an_index_counts_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("weights")
    (tmp_path / "additional_chat_templates").mkdir()
    before = digest.of_model(tmp_path)
    (tmp_path / "additional_chat_templates" / "new.jinja").write_text("template")
    assert digest.of_model(tmp_path) != before
