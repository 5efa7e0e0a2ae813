"""The restorer of grey pages: NAF-DPM's predictor, and its residual sampled by any of the solvers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from fastdiff.apps.docclean.tiling import Tiled
from fastdiff.models.nafdpm import alphas_cumprod
from fastdiff.models.restorers import Pair
from fastdiff.solvers.denoiser import Network
from fastdiff.solvers.grid import Grid, grid, time_uniform
from fastdiff.solvers.integrate import Solver, integrate
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.schedule import DiscreteVP


@dataclass(frozen=True)
class Restorer:
    """Degraded grey page -> clean grey page. With `calls` = 0 the predictor's answer is final."""

    pair: Pair
    solver: Callable[..., Solver]
    calls: int  # of the denoiser a page at most, 0 or more
    seed: int = 0
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    @cached_property
    def schedule(self) -> DiscreteVP:
        return DiscreteVP(tuple(alphas_cumprod().tolist()))

    @cached_property
    def levels(self) -> Grid:
        """From the noisiest trained level to the cleanest; the last step goes to x0."""
        return grid(time_uniform, self.schedule, -(-self.calls // self.solver().evals), clean=True)

    @property
    def spent(self) -> int:
        """The calls that a page takes: a solver of two calls a step makes do with one in the last, to x0."""
        return 1 + (len(self.levels) - 2) * self.solver().evals if self.calls else 0

    def __call__(self, page: Tensor, key: int) -> Tensor:
        """(H, W) float32 in [0, 1] -> the same; `key` names the page's noise, whatever else is cleaned with it."""
        with torch.inference_mode():
            degraded = page[None, None].to(self.device).expand(-1, self.pair.channels, -1, -1)
            restored = self._tiled(self.pair.predictor)(degraded)
            if self.calls:
                restored = restored + self._residual(restored, key)
            return restored[0].mean(0).clamp_(0, 1).cpu()

    def _residual(self, restored: Tensor, key: int) -> Tensor:
        """The sampled residual (1, C, H, W), in [-1, 1]."""
        assert self.pair.denoiser is not None
        net = self._tiled(self.pair.denoiser)

        def bounded(x: Tensor, label: Tensor, restored: Tensor) -> Tensor:
            return net(x, label, restored).clamp(-1, 1)

        f = Network(bounded, self.schedule, "x0", self.schedule.label, {"restored": restored})
        noise = Noise(self.seed, (key,))
        solver = self.solver(noise=noise) if self.solver().stochastic else self.solver()
        return integrate(f, solver, noise(restored), self.levels).x

    def _tiled(self, net: nn.Module) -> Tiled:
        net = net.to(self.device)

        def typed(*inputs: Tensor) -> Tensor:
            with torch.autocast(inputs[0].device.type, self.dtype, enabled=self.dtype != torch.float32):
                return net(*inputs).float()

        return Tiled(typed)
