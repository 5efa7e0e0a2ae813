"""Checkpoints of the training of a policy: a stopped training resumes, and ends with the same policy."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fastdiff.solvers.consistency_policy import ConsistencyPolicy
from fastdiff.solvers.errors import UsageError


@dataclass
class PolicyTraining:
    """The state of a training after `done` iterations, which took `seconds` over all runs."""

    policy: ConsistencyPolicy
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    done: int = 0
    seconds: float = 0.0

    def save(self, path: Path, settings: str) -> None:
        """Write the state whole or not at all; `settings` names everything that the training depends on."""
        partial = path.with_suffix(".partial")
        torch.save({"settings": settings, **self._parts(), "done": self.done, "seconds": self.seconds}, partial)
        partial.replace(path)

    def resume(self, path: Path, settings: str) -> None:
        """Restore the state at `path` if there is one.

        Raises UsageError for a damaged file, and for one of other settings.
        """
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            stored = state["settings"]
            if stored == settings:
                self._restore(state)
        except Exception as error:
            raise UsageError(f"{path} is a damaged checkpoint: remove it") from error
        if stored != settings:
            raise UsageError(f"{path} is a checkpoint of a training with other settings: remove it")

    def _parts(self) -> dict[str, Any]:
        return {
            "policy": self.policy.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.done, self.seconds = int(state["done"]), float(state["seconds"])
