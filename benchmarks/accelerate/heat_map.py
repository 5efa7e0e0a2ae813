"""A heat map of how much each block of a network changes from step to step."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from torch import Tensor


def draw(path: Path, changes: Tensor, title: str) -> None:
    """Write the relative changes (L, N) of L blocks in N steps as a picture, noise on the left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = pyplot.subplots(figsize=(11, 4), layout="constrained")
    shown = axes.imshow(changes.numpy(), aspect="auto", origin="lower", cmap="magma", vmin=0)
    axes.set(title=f"Change of what each block adds, {title}", xlabel="step", ylabel="block")
    figure.colorbar(shown, label="relative change from the step before")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
