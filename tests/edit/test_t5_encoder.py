"""Our T5 encoder against the class of transformers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5EncoderModel

from fastdiff.models.t5_encoder import T5Encoder
from fastdiff.solvers.errors import UsageError

SMALL = {"vocab_size": 40, "d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 3, "num_heads": 3}


def folder(path: Path, projection: str, **changes: object) -> Path:
    torch.manual_seed(0)
    network = T5EncoderModel(T5Config(**SMALL | {"feed_forward_proj": projection} | changes))
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(std=0.4)
    network.save_pretrained(path)
    return path


def inputs(length: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of two texts, farther apart than the relative distances that are told apart; the second is padded."""
    tokens = torch.randint(40, (2, length), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(tokens).bool()
    mask[1, 17:] = False
    return tokens, mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("projection", ["gated-gelu", "relu"])
def test_states_are_those_of_transformers(projection: str, dtype: torch.dtype, tmp_path: Path) -> None:
    path = folder(tmp_path, projection)
    ours, theirs = T5Encoder.read(path, dtype), T5EncoderModel.from_pretrained(path, dtype=dtype)
    tokens, mask = inputs()
    with torch.inference_mode():
        states = theirs(tokens, attention_mask=mask).last_hidden_state
        got = ours(tokens, mask)
    assert got.dtype == dtype
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 0.1, "atol": 0.1}
    torch.testing.assert_close(got[0], states[0], **tolerance)
    torch.testing.assert_close(got[1, :17], states[1, :17], **tolerance)


def test_weights_have_the_names_that_transformers_gives_them(tmp_path: Path) -> None:
    path = folder(tmp_path, "gated-gelu")
    theirs = T5EncoderModel.from_pretrained(path).state_dict()
    ours = T5Encoder.read(path, torch.float32).state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_encoders_of_another_kind_or_with_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="feed_forward_proj gated-silu"):
        T5Encoder.read(folder(tmp_path / "silu", "gated-silu"), torch.float32)
    path = folder(tmp_path / "whole", "relu")
    (file,) = path.glob("*.safetensors")
    weights = load_file(file)
    norm = weights.pop("encoder.final_layer_norm.weight")
    save_file(weights, file)
    with pytest.raises(UsageError, match=r"lack encoder\.final_layer_norm\.weight"):
        T5Encoder.read(path, torch.float32)
    save_file(weights | {"encoder.final_layer_norm.weight": norm[:5].contiguous()}, file)
    with pytest.raises(UsageError, match="not those of its config"):
        T5Encoder.read(path, torch.float32)
