"""Solver files: the best sampler configurations for one model, by number of network evaluations, with coefficients.

A file is safetensors with a card in its metadata. Files may come from strangers: reading validates everything and runs
nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fastdiff.solvers.dc_cascade import Cascade
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver
from fastdiff.solvers.sampler_config import SamplerConfig
from fastdiff.solvers.schedule import Schedule
from fastdiff.solvers.tuned import TUNED, base_unipc

FORMAT = 1
LARGEST = 2**29  # bytes of a file that is read
LARGEST_NFE = 1000
OPTIONS = {
    "base": str,
    "order": int,
    "skip": int,
    "corrector": bool,
    "p_pseudo": bool,
    "c_pseudo": bool,
    "lower_final": bool,
    "published": bool,
}  # options that a file may give a solver, with their types
SHARED = "all"  # prefix of tensors that every number of evaluations uses
CASCADE = "cascade"


@dataclass(frozen=True)
class SolverFile:
    """Content of a solver file. Tensors are named `NFE.NAME`, `all.NAME` or `cascade.NAME`."""

    model: str  # name of the model when the file was made
    fingerprint: str  # of the network, `fastdiff.models.fingerprint`
    guidance: float
    configs: Mapping[int, SamplerConfig]  # by number of network evaluations
    tensors: Mapping[str, Tensor]
    card: Mapping[str, Any]  # how the file was made, and its measured errors

    def save(self, path: Path) -> None:
        """Write the file. The same content gives the same bytes."""
        from safetensors.torch import save_file

        header = {
            "format": FORMAT,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "guidance": self.guidance,
            "recipes": {nfe: asdict(config) for nfe, config in self.configs.items()},
            "card": dict(self.card),
        }
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.tensors.items()}
        save_file(tensors, path, {"fastdiff": json.dumps(header, sort_keys=True)})

    def for_model(self, fingerprint: str, guidance: float = 1.0) -> "SolverFile":
        """Return this file. Raises UsageError if it was made for another network or another guidance scale."""
        if fingerprint != self.fingerprint:
            raise UsageError(
                f"the solver file was made for {self.model} (network {self.fingerprint[:12]}), and this network is "
                f"{fingerprint[:12]}: tune this one"
            )
        if guidance != self.guidance:
            raise UsageError(f"the solver file was made for guidance {self.guidance:g}, and this is {guidance:g}")
        return self

    def sampler(self, schedule: Schedule, nfe: int) -> tuple[Solver[Any], Grid]:
        """Return the solver for `nfe` network evaluations, and the grid that it was fitted to.

        Raises UsageError if the file has neither this number nor a regression over it, and for a damaged file.
        """
        known = sorted(self.configs)
        if nfe in self.configs:
            config, make = self.configs[nfe], self._made
        elif self._part(CASCADE) and known[0] < nfe < known[-1]:
            config, make = self.configs[known[0]], self._regressed
        else:
            raise UsageError(f"{nfe} calls: the solver file has {', '.join(map(str, known))}")
        try:
            solver = make(config, nfe)
        except (TypeError, KeyError) as error:
            raise UsageError(f"the solver file is damaged: {config.solver} with {dict(config.options)}") from error
        if solver.stochastic:
            raise UsageError(f"the solver file names {config.solver}, which adds noise: only others are taken")
        return solver, config.levels(schedule, nfe, solver.nfe_per_step)

    def _made(self, config: SamplerConfig, nfe: int) -> Solver[Any]:
        if config.solver not in TUNED:
            return config.make()
        return TUNED[config.solver].restore(self._part(SHARED) | self._part(str(nfe)), **config.options)

    def _regressed(self, config: SamplerConfig, nfe: int) -> Solver[Any]:
        cascade = Cascade.from_tensors(self._part(CASCADE))
        return cascade.solver(self.guidance, nfe, base_unipc(**config.options))

    def _part(self, prefix: str) -> dict[str, Tensor]:
        start = f"{prefix}."
        return {name.removeprefix(start): value for name, value in self.tensors.items() if name.startswith(start)}


def read_solver_file(path: Path) -> SolverFile:
    """Read the solver file at `path`. Raises UsageError for any other file, and for a newer format."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file() or path.stat().st_size > LARGEST:
        raise UsageError(f"{path} is not a solver file of at most {LARGEST // 2**20} MiB")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})["fastdiff"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if (version := header["format"]) != FORMAT:
            raise UsageError(f"{path} is a solver file of format {version}: this version reads format {FORMAT}")
        if not header["recipes"]:
            raise ValueError("no recipes")
        return SolverFile(
            str(header["model"]),
            str(header["fingerprint"]),
            float(header["guidance"]),
            {_nfe(nfe): _config(config) for nfe, config in header["recipes"].items()},
            tensors,
            dict(header["card"]),
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} is not a solver file: `fastdiff tune` and `fastdiff search` write such") from error


def _nfe(text: str) -> int:
    if not 1 <= (nfe := int(text)) <= LARGEST_NFE:
        raise ValueError(text)
    return nfe


def _config(header: Mapping[str, Any]) -> SamplerConfig:
    options = dict(header["options"])
    for name, value in options.items():
        if type(value) is not OPTIONS.get(name) or (isinstance(value, int) and not 0 <= value <= LARGEST_NFE):
            raise ValueError(name)
    return SamplerConfig(str(header["solver"]), str(header["grid"]), options)
