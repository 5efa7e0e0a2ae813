"""Fits what tells content from dirt on rendered pages.

Run as `python -m fastdiff.training.docclean.guard_fit data/docclean-guard.json`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fastdiff.training.docclean.guard_pages import make
from fastdiff.training.docclean.guard_samples import Samples, collect

HIDDEN = 24  # neurons of a judge
STEPS = 3000
RATE = 3e-3
DECAY = 1e-3
HEAVIEST = 400.0  # pixels: larger marks weigh no more


def main() -> None:
    parser = argparse.ArgumentParser(prog="guard_fit", description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, metavar="FILE", help="a JSON file")
    parser.add_argument("--pages", type=int, default=280, metavar="N")
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    strokes, areas = collect(make(arguments.seed, arguments.pages, held_out=False))
    judges = {"strokes": fit(strokes, arguments.seed), "areas": fit(areas, arguments.seed)}
    card = {"pages": arguments.pages, "seed": arguments.seed, "licence": "Apache-2.0"}
    arguments.output.write_text(json.dumps({"card": card, **judges}, separators=(",", ":")) + "\n")


def fit(samples: Samples, seed: int, hidden: int = HIDDEN) -> dict[str, list]:
    """Fits a network of one hidden layer; the numbers that `guard_judge.Judge` is made of.

    Marks weigh as the square root of their size. Content and dirt weigh the same in all.
    """
    torch.manual_seed(seed)
    x = torch.from_numpy(samples.features).float()
    middle, spread = x.mean(0), x.std(0).clamp(min=1e-3)
    x = ((x - middle) / spread).clamp(-6, 6)
    y = torch.from_numpy(samples.content).float()
    weights = torch.from_numpy(np.sqrt(np.minimum(samples.sizes, HEAVIEST))).float()
    weights = torch.where(y > 0, weights / (weights * y).sum(), weights / (weights * (1 - y)).sum()) / 2
    net = nn.Sequential(nn.Linear(x.shape[1], hidden), nn.Tanh(), nn.Linear(hidden, 1))
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    generator = torch.Generator().manual_seed(seed)
    loss_of = nn.BCEWithLogitsLoss(reduction="none")
    for _ in range(STEPS):
        batch = torch.multinomial(weights, min(4096, len(weights)), replacement=True, generator=generator)
        loss = loss_of(net(x[batch])[:, 0], y[batch]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    first, last = net[0], net[2]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    numbers = {"middle": middle, "spread": spread, "w1": first.weight, "b1": first.bias}
    numbers |= {"w2": last.weight[0], "b2": last.bias}
    return {name: np.round(value.detach().numpy().astype(float), 4).tolist() for name, value in numbers.items()}


if __name__ == "__main__":
    main()
