"""Small random models of all families that edit loads: `python tests/tiny_folders.py DIR` writes their folders."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import tiny_flux
import tiny_pixart
import tiny_sana
import tiny_sd3
import tiny_unet

LEVELS: dict[str, Any] = {  # attention at the full, half and quarter latents, as in Stable Diffusion 1 and 2
    "down_block_types": ("CrossAttnDownBlock2D",) * 3,
    "up_block_types": ("CrossAttnUpBlock2D",) * 3,
}
FOLDERS: dict[str, Callable[[Path], Path]] = {
    "pixart": tiny_pixart.write,
    "stable-diffusion": partial(tiny_unet.write_stable_diffusion, **LEVELS),
    "xl": partial(tiny_unet.write_stable_diffusion, xl=True),
    "sd3": tiny_sd3.write,
    "sd3.5": partial(tiny_sd3.write, qk_norm="rms_norm", dual_attention_layers=(0, 1)),
    "sana": tiny_sana.write,
    "flux": tiny_flux.write,
}


if __name__ == "__main__":
    for name, write in FOLDERS.items():
        write(Path(sys.argv[1]) / name)
