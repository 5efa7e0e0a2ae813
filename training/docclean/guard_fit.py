"""Fits the classifiers of content and dirt on rendered pages.

Run as `python -m fastdiff.training.docclean.guard_fit data/docclean-guard.json`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fastdiff.apps.docclean.guard.mark_classifier import FARTHEST
from fastdiff.training.docclean.guard_pages import render_examples
from fastdiff.training.docclean.guard_samples import Samples, collect, join

HIDDEN = 24  # neurons of a classifier
STEPS = 2000
BATCH = 2048
RATE = 3e-3
DECAY = 1e-3
HEAVIEST = 4000.0  # pixels: larger marks weigh no more


def main() -> None:
    parser = argparse.ArgumentParser(prog="guard_fit", description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, metavar="FILE", help="a JSON file")
    parser.add_argument("--pages", type=int, default=280, metavar="N", help="of every seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[71, 72], metavar="SEED")
    arguments = parser.parse_args()
    parts = [collect(render_examples(seed, arguments.pages, held_out=False)) for seed in arguments.seeds]
    write(arguments.output, *(join(layer) for layer in zip(*parts, strict=True)))


def write(path: Path, strokes: Samples, areas: Samples) -> None:
    """Fit the classifiers of both layers and write them as JSON."""
    card = {
        "about": "Tells content from dirt in the guard of docclean: one small network for each kind of mark",
        "made by": "python -m fastdiff.training.docclean.guard_fit",
        "licence": "Apache-2.0",
        "marks": {"strokes": len(strokes.sizes), "areas": len(areas.sizes)},
    }
    judges = {"strokes": fit(strokes), "areas": fit(areas)}
    path.write_text(json.dumps({"card": card, **judges}, separators=(",", ":")) + "\n")


def fit(samples: Samples, seed: int = 0, hidden: int = HIDDEN, steps: int = STEPS) -> dict[str, list]:
    """Fit a network of one hidden layer; return the fields of `mark_classifier.MarkClassifier`.

    Marks weigh as the square root of their size. Content and dirt have the same total weight.
    """
    torch.manual_seed(seed)
    x = torch.from_numpy(samples.features).float()
    middle, spread = x.mean(0), x.std(0).clamp(min=1e-3)
    x = ((x - middle) / spread).clamp(-FARTHEST, FARTHEST)
    y = torch.from_numpy(samples.content).float()
    weights = torch.from_numpy(np.sqrt(np.minimum(samples.sizes, HEAVIEST))).float()
    weights = torch.where(y > 0, weights / (weights * y).sum(), weights / (weights * (1 - y)).sum()) / 2
    net = nn.Sequential(nn.Linear(x.shape[1], hidden), nn.Tanh(), nn.Linear(hidden, 1))
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    shares = weights.cumsum(0)
    generator = torch.Generator().manual_seed(seed)
    loss_of = nn.BCEWithLogitsLoss(reduction="none")
    for _ in range(steps):
        drawn = shares[-1] * torch.rand(BATCH, generator=generator)
        batch = torch.searchsorted(shares, drawn).clamp(max=len(shares) - 1)
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
