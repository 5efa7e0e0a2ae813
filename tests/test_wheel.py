"""The wheel, built from the source distribution and installed into an environment of its own, works by itself."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PACKAGES = ("apps", "cli", "data", "inversion", "models", "solvers", "training")
NOT_SOURCES = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "demo")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=NOT_SOURCES)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "source")
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def programs(wheel: Path) -> Path:
    """The folder of programs of a new environment: the wheel is installed there, its requirements are this one's."""
    environment = wheel.parent.parent / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files are not read
    return python.parent


def run(*command: object, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    arguments = [str(part) for part in command]
    result = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_wheel_holds_weights_and_samples_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for part in ("solvers/py.typed", "solvers/__init__.pyi", "data/docclean.safetensors", "data/samples/letter.png",
                 "data/samples-edit/dog-face.png", "data/scenes/model_index.json", "data/photos/model_index.json",
                 "data/recogniser.safetensors"):  # fmt: skip
        assert f"fastdiff/{part}" in names
    weights = {path.relative_to(ROOT).as_posix() for path in (ROOT / "data").rglob("*.safetensors")}
    assert {name.removeprefix("fastdiff/") for name in names if name.endswith(".safetensors")} == weights
    assert {name.split("/")[0] for name in names if not name.startswith("fastdiff_toolkit-")} == {"fastdiff"}
    assert not {"tests", "benchmarks"} & {name.split("/")[1] for name in names}
    sources = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert {name.removeprefix("fastdiff/") for name in names if name.endswith(".py")} == sources


def test_the_installed_wheel_cleans_a_page_and_edits_a_picture(programs: Path, tmp_path: Path) -> None:
    place = run(programs / "python", "-c", "import fastdiff.data; print(fastdiff.data.__file__)", cwd=tmp_path)
    data = Path(place.strip()).parent
    assert data.is_relative_to(programs.parent)
    run(
        programs / "fastdiff",
        "docclean",
        data / "samples/memo.png",
        "-o",
        tmp_path / "clean",
        "--ocr",
        "none",
        cwd=tmp_path,
    )
    assert (tmp_path / "clean/memo.png").exists()
    prompt = ("--prompt", "dog face on a red background", "-o", tmp_path / "edited")
    run(programs / "fastdiff", "edit", data / "samples-edit/dog-face.png", *prompt, cwd=tmp_path)
    assert (tmp_path / "edited/dog-face.png").exists()
