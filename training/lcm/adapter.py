"""LoRA (Hu et al. 2021, arXiv 2106.09685) on the network of a model, by PEFT, and its files in PEFT's layout."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from peft import PeftModel

# Linear and convolutional layers of the networks of diffusers, as in the published training of LCM-LoRA.
TARGETS = (
    *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj"),
)


def with_adapter(network: nn.Module, rank: int) -> "PeftModel":
    """Return the network with an adapter of this rank and scale 1, which alone trains; it changes nothing yet."""
    from peft import LoraConfig, get_peft_model

    return get_peft_model(network, LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS)))


@contextmanager
def without_adapter(network: nn.Module) -> Iterator[None]:
    """Switch the adapter of a network off for the block."""
    from peft import PeftModel

    assert isinstance(network, PeftModel)
    with network.disable_adapter():
        yield
