"""Base class of flow matching models whose schedule may depend on the size of the picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastdiff.models.component_loading import Components
from fastdiff.models.json_file import read_object
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel, fields
from fastdiff.models.scheduler_config import TrainedScheduler, scheduler_from_config


@dataclass(frozen=True)
class SizeShiftedModel(LatentDiffusionModel):
    """A `LatentDiffusionModel` that reads its scheduler config for the number of tokens of each picture.

    A family may override `read_schedule`.
    """

    scheduler_config: Mapping[str, Any]

    def scheduler(self, size: tuple[int, int]) -> TrainedScheduler:
        return self.read_schedule(self.scheduler_config, self._tokens(size))

    @classmethod
    def read_schedule(cls, config: Mapping[str, Any], tokens: int) -> TrainedScheduler:
        """Return the schedule of a config for a picture of so many tokens."""
        return scheduler_from_config(config, tokens)

    @classmethod
    def read_fields(cls, components: Components, name: str, network: Any, vae: Any, tokens: int) -> dict[str, Any]:
        """Return the fields of this class; `tokens` is the number of tokens of a picture of the size of training."""
        config = read_object(components.folder.path / "scheduler" / "scheduler_config.json")
        trained = cls.read_schedule(config, tokens)
        return fields(components, name, network, vae, tokens) | {"trained": trained, "scheduler_config": config}
