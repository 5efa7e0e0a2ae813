"""Teleportation of whole pages by the Gaussian of crops."""

from dataclasses import dataclass

from torch import Tensor

from fastdiff.apps.docclean.restoration.tiling import TiledNetwork
from fastdiff.solvers.schedule import Level
from fastdiff.solvers.teleport import Teleport

OVERLAP = 8  # of the side of a crop: the overlap of neighbours is one part in so many


@dataclass(frozen=True)
class TiledTeleport:
    """Teleports a page crop by crop, as a network restores it."""

    crops: Teleport  # of (C, side, side)

    def carry(self, x: Tensor, t: Level, u: Level) -> Tensor:
        """Return the state (1, C, H, W) at level u of the flow through x at level t, by a Gaussian for each crop."""
        side = self.crops.mean.shape[-1]
        return TiledNetwork(lambda crop: self.crops.carry(crop, t, u), side, max(side // OVERLAP, 2))(x)
