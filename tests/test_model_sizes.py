"""The published configs of the large models, built without memory: their numbers of parameters, and what they need.

The configs were typed from the published folders; the parameters are compared with what the authors say.
"""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.memory import AttentionWithoutMaps, LiveTensors, Model, Part, count, numbers
from benchmarks.published_models import MODELS

TEXT = {"SDXL": 0.82, "Sana 1.6B": 2.61, "FLUX.1-dev": 4.9}  # billions of parameters of all text encoders


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_that_the_authors_state(name: str) -> None:
    with torch.device("meta"):
        network = MODELS[name].network()
    assert numbers(network) / 1e9 == pytest.approx(MODELS[name].billions, rel=0.05)


@pytest.mark.parametrize("name", TEXT)
def test_text_encoders_are_those_of_the_folders(name: str) -> None:
    with torch.device("meta"):
        encoders = [make() for make in MODELS[name].encoders]
    assert sum(map(numbers, encoders)) / 1e9 == pytest.approx(TEXT[name], rel=0.03)


def test_a_call_of_stable_diffusion_takes_the_work_that_is_known() -> None:
    """About 0.8 TFLOP a call of one row, twice the 0.4 T multiplications and additions of published counts."""
    small = replace(MODELS["Stable Diffusion 1.5"], latents=(4, 64, 64))
    found = count(small)
    assert found.work / 1e12 == pytest.approx(0.8, rel=0.02)
    assert found.autoencoder.numbers / 1e6 == pytest.approx(83.7, rel=0.01)


def test_live_tensors_are_counted_while_they_live() -> None:
    x = torch.empty(1000, device="meta")
    with LiveTensors() as live:
        y = x.view(-1) + 1  # 4000 bytes; those of x were there before
        z = y.view(10, 100) * 2  # the view shares its storage
        del y
        w = z + 1
    assert live.most == 8000 and live.now == 8000 and w.shape == z.shape


def test_attention_keeps_no_maps() -> None:
    q, v = torch.empty(1, 2, 500, 8, device="meta"), torch.empty(1, 2, 500, 4, device="meta")
    with AttentionWithoutMaps(), LiveTensors() as live:
        out = scaled_dot_product_attention(q, q, v)
    assert out.shape == (1, 2, 500, 4) and live.most == out.numel() * 4


def test_parts_are_together_or_alone() -> None:
    model = Model(Part(10**9, 2e9), Part(10**8, 3e9), (Part(4 * 10**9, 0.0), Part(10**8, 0.0)), 1.0)
    assert model.together(2) == pytest.approx(2 * 5.1 + 0.4 + 3 + 1)  # decoding has more activations than a call
    assert model.alone(2) == pytest.approx(8 + 1)  # of the largest text encoder
    assert model.alone(4) == pytest.approx(16 + 1)
