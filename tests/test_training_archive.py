"""The archive of a training runs where only its own files are: no home, no network, no installed fastdiff."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from safetensors.torch import load_file

from fastdiff.training.archive import pack
from fastdiff.training.docclean.fonts import FAMILIES, installed_faces

pytestmark = pytest.mark.slow

# Read by Python at its start: any connection to a host is an error, and the origin of the code is written down.
WATCH = """
import atexit, sys
from pathlib import Path

def watch(event, arguments):
    if event == "socket.getaddrinfo" or event == "socket.connect" and isinstance(arguments[1], tuple):
        raise OSError(f"no network: {event} {arguments}")

def note():
    if "fastdiff.training.docclean.train" in sys.modules:
        Path(__file__).with_name("origin").write_text(sys.modules["fastdiff.training.docclean.train"].__file__)

sys.addaudithook(watch)
atexit.register(note)
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    (folder / "note.txt").write_text("from another run")
    pack(folder / "training.tar", [folder / "note.txt"])
    with tarfile.open(folder / "training.tar") as tar:
        tar.extractall(folder / "there", filter="data")
    return folder / "there"


def test_a_training_runs_from_the_archive_alone(unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    tiny = "--stage predictor --steps 2 --batch 2 --width 4 --levels 2 --pool 2 --device cpu"
    subprocess.run(
        ["sh", unpacked / "train.sh", "docclean", "--folder", "runs/there", *tiny.split()],
        check=True,
        cwd=tmp_path,
        env={
            "HOME": str(tmp_path / "no-home"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "PYTHONPATH": str(tmp_path / "watch"),
            "OMP_NUM_THREADS": "1",
        },
    )
    assert load_file(unpacked / "runs" / "there" / "docclean.safetensors")
    assert Path((tmp_path / "watch" / "origin").read_text()).is_relative_to(unpacked)
    assert not (tmp_path / "no-home").exists()


def test_the_archive_has_the_fonts_of_every_style_and_what_was_added(
    unpacked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastdiff.training.docclean.fonts.font_folders", lambda: (unpacked / "share" / "fonts",))
    found = installed_faces()
    assert all(any(name in found for name in names) for names in FAMILIES.values())
    assert list(unpacked.rglob("NotoColorEmoji.ttf")) and (unpacked / "note.txt").read_text() == "from another run"
    assert (unpacked / "fastdiff" / "data" / "docclean.safetensors").is_file()
