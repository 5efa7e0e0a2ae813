"""A classifier of black and white digits, 28 x 28 pixels, trained on those of scikit-learn."""

from pathlib import Path

import torch
from torch import Tensor, nn


class Net(nn.Module):
    side = 28
    names = tuple("0123456789")

    def __init__(self) -> None:
        super().__init__()
        self.n = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 49, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.n(x.mean(1, keepdim=True))


def build() -> Net:
    net = Net()
    net.load_state_dict(torch.load(Path(__file__).with_name("digits.pt"), weights_only=True))
    return net
