"""Tests which modules a cold start must not import: its time goes into imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[1] / "data" / "samples-edit" / "dog-face.png"
COMMAND = "from fastdiff.cli.main import main; code = main(sys.argv[3:])"
RUN = "import sys; code = 0; exec(sys.argv[2])"
FOUND = "; print('found', *(name for name in sys.argv[1].split() if name in sys.modules)); sys.exit(code)"
NETWORK_LIBRARIES = ("diffusers", "transformers", "torchvision", "timm", "easyocr", "torch._dynamo")
OTHER_TASKS = (  # what an edit with a PixArt model does not need
    "fastdiff.training",
    "fastdiff.apps.attack",
    "fastdiff.apps.docclean",
    "fastdiff.models.classifier_loading",
    "fastdiff.models.nafdpm",
    "fastdiff.models.stable_diffusion",
    "diffusers.pipelines",
    "easyocr",
    "matplotlib",
    "pikepdf",
    "pypdfium2",
    "skimage",
    "timm",
)


def imported(names: tuple[str, ...], code: str, *arguments: str) -> list[str]:
    """Return the modules among `names` that `code` imports in a process of its own."""
    command = [sys.executable, "-c", RUN + FOUND, " ".join(names), code, *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ).stdout
    return output.splitlines()[-1].split()[1:]


def test_an_edit_of_a_sample_imports_nothing_of_other_tasks(tmp_path: Path) -> None:
    out = str(tmp_path / "out.png")
    edit = ("edit", str(SAMPLE), "--prompt", "dog face on a red background", "-o", out)
    assert imported(("diffusers", *OTHER_TASKS), COMMAND, *edit) == ["diffusers"]
    assert Path(out).is_file()


@pytest.mark.parametrize(
    "module",
    [
        "fastdiff.apps.attack.attacker",
        "fastdiff.apps.docclean.app",
        "fastdiff.apps.edit.editor",
        "fastdiff.inversion.registry",
        "fastdiff.models.registry",
        "fastdiff.solvers.registry",
    ],
)
def test_network_libraries_are_imported_only_with_a_model(module: str) -> None:
    assert imported((*NETWORK_LIBRARIES, "scipy", "fastdiff.training"), f"import {module}") == []


@pytest.mark.parametrize("command", ["edit", "attack", "docclean", "invert", "models", "solvers"])
def test_help_imports_no_network_library(command: str) -> None:
    libraries = ("torch", "diffusers", "transformers", "numpy", "PIL", "cv2")
    assert imported(libraries, COMMAND, command, "--help") == []
