"""The restorer of pages: NAF-DPM's predictor, and its residual sampled by any solver, tile by tile."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from fastdiff.apps.docclean.restoration.tiled_teleport import TiledTeleport
from fastdiff.apps.docclean.restoration.tiling import TiledNetwork
from fastdiff.apps.precision import check_finite
from fastdiff.models.fingerprint import of_network
from fastdiff.models.residual import residual_denoiser, residual_schedule
from fastdiff.models.restorers import Pair
from fastdiff.solvers.grids import Grid, grid, time_uniform
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.solver_file import SolverFile
from fastdiff.solvers.teleport import Teleport
from fastdiff.solvers.with_teleport import WithTeleport


@dataclass(frozen=True)
class TiledRestorer:
    """Maps degraded pages to clean pages. With `calls` = 0 the output of the predictor is final."""

    pair: Pair
    solver: Callable[..., Solver[Any]]
    calls: int  # most network evaluations of the denoiser per page, 0 or more
    seed: int = 0
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    file: SolverFile | None = None  # replaces the solver and its levels

    @cached_property
    def _plan(self) -> tuple[Solver[Any], Grid]:
        """The solver and its levels: by default from the noisiest trained level to the cleanest, then x0."""
        schedule = residual_schedule()
        if self.file is None:
            solver = self.solver()
            return solver, grid(time_uniform, schedule, -(-self.calls // solver.nfe_per_step), clean=True)
        assert self.pair.denoiser is not None
        file = self.file.for_model(of_network(self.pair.denoiser, schedule, "x0"))
        solver, levels = file.sampler(schedule, self.calls)
        if isinstance(solver, WithTeleport) and isinstance(solver.teleport, Teleport):
            solver = replace(solver, teleport=TiledTeleport(solver.teleport))
        return solver, levels

    @property
    def nfe(self) -> int:
        """The network evaluations of a page: a solver of two per step needs only one in the last step, to x0."""
        if self.file is not None or not self.calls:
            return self.calls
        solver, levels = self._plan
        return 1 + (len(levels) - 2) * solver.nfe_per_step

    def __call__(self, page: Tensor, key: int) -> Tensor:
        """Restore a page: float32 in [0, 1], grey (H, W) or, for a pair of three channels, RGB (H, W, 3).

        A colour pair gets a grey page in every channel; its outputs are averaged. `key` names the noise of the page,
        independent of other pages. Raises NotFiniteError if a network overflows.
        """
        grey = page.dim() == 2
        with torch.inference_mode():
            picture = page[None, None] if grey else page.permute(2, 0, 1)[None]  # (1, C, H, W)
            degraded = picture.to(self.device).expand(-1, self.pair.channels, -1, -1)
            restored = self._tiled(self.pair.predictor)(degraded)
            if self.calls:
                restored = restored + self._residual(restored, degraded, key)
            if not grey:
                clean = restored[0].permute(1, 2, 0).contiguous()
            else:  # a single channel needs no mean, which would copy a large page
                clean = restored[0, 0] if self.pair.channels == 1 else restored[0].mean(0)
            return clean.clamp_(0, 1).cpu()

    def _residual(self, restored: Tensor, degraded: Tensor, key: int) -> Tensor:
        """Return the sampled residual of pictures (1, C, H, W), in [-1, 1]."""
        net = self.pair.denoiser
        assert net is not None
        noise = Noise(self.seed, (key,))
        solver, levels = self._plan
        if solver.stochastic:
            solver = self.solver(noise=noise)
        denoiser = residual_denoiser(self._tiled(net), net.condition(restored, degraded), net.scale)
        return integrate(denoiser, solver, noise(restored), levels).x * net.scale

    def _tiled(self, net: nn.Module) -> TiledNetwork:
        net = net.to(self.device)

        def typed(*inputs: Tensor) -> Tensor:
            with torch.autocast(inputs[0].device.type, self.dtype, enabled=self.dtype != torch.float32):
                out: Tensor = net(*inputs).float()
            check_finite(out, "the cleaning of the page", self.dtype)  # checked here, since residuals are clamped later
            return out

        return TiledNetwork(typed)
