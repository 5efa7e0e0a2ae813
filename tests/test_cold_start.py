"""What a cold command must not import: that is where its time goes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[1] / "data" / "samples-edit" / "dog-face.png"
RUN = "import sys; from fastdiff.cli.main import main; code = main(sys.argv[2:])"
FOUND = "; print('found', *(name for name in sys.argv[1].split() if name in sys.modules)); sys.exit(code)"
COMPILER = ("torch._dynamo", "torch._inductor", "torch.fx.experimental.symbolic_shapes", "sympy", "triton")
LIBRARIES = ("torch.distributed.tensor", "torchvision", "scipy", "skimage", "pandas", "matplotlib", "easyocr", "timm")
NETWORKS = (
    "transformers.modeling_utils",
    "transformers.loss.loss_utils",
    "diffusers.loaders.lora_base",
    "diffusers.models.unets.unet_2d",
    "diffusers.models.autoencoders.vae",
    "diffusers.models.transformers.auraflow_transformer_2d",
    "fastdiff.models.stable_diffusion",
)


def imported(names: tuple[str, ...], *arguments: str) -> list[str]:
    """Those of the modules that a command imports in a process of its own."""
    command = [sys.executable, "-c", RUN + FOUND, " ".join(names), *arguments]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ).stdout
    return told.splitlines()[-1].split()[1:]


def test_an_edit_of_a_sample_imports_one_network_and_no_compiler(tmp_path: Path) -> None:
    out = str(tmp_path / "out.png")
    names = (*COMPILER, *LIBRARIES, *NETWORKS)
    assert imported(names, "edit", str(SAMPLE), "--prompt", "dog face on a red background", "-o", out) == []
    assert Path(out).is_file()


@pytest.mark.parametrize("command", ["edit", "attack", "docclean", "invert", "models", "solvers"])
def test_help_imports_no_network_library(command: str) -> None:
    assert imported(("torch", "diffusers", "transformers", "numpy", "PIL", "cv2"), command, "--help") == []
