"""The input of attack's worker processes, and their classifiers."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from fastdiff.apps.attack.labels import Label
from fastdiff.apps.attack.options import Options
from fastdiff.apps.device import resolve_device
from fastdiff.apps.running import inputs, output_manifest
from fastdiff.apps.running.output_manifest import OutputManifest
from fastdiff.models.classifier import ClassifierTarget
from fastdiff.models.classifier_loading import load_classifier, read_names
from fastdiff.solvers.errors import UsageError


@dataclass(frozen=True)
class Work:
    """The input of a worker process: the options, their fingerprint, and the inputs with their classes."""

    options: Options
    fingerprint: str
    tasks: tuple[tuple[inputs.Item, Label], ...]

    def label(self, item: inputs.Item) -> Label:
        return self._by_item[item]

    def manifest(self, item: inputs.Item, content: str) -> OutputManifest:
        """The manifest entry of an output made of an input with the digest `content`."""
        key = output_manifest.digest(content, self.label(item), self.fingerprint)
        return OutputManifest(item.output, item.source, key, item.request, self.options.force)

    @cached_property
    def _by_item(self) -> dict[inputs.Item, Label]:
        return dict(self.tasks)


@dataclass(frozen=True, eq=False)
class Classifiers:
    """The attacked classifier, and by name those that results are tested on (transfer), on one device."""

    attacked: ClassifierTarget
    others: Mapping[str, ClassifierTarget]
    device: str


def load_classifiers(options: Options) -> Classifiers:
    """Load the classifiers of the options; the attacked one takes the given class names.

    Raises as `load_classifier` does, and UsageError for a classifier whose classes differ from the attacked one's.
    """
    device = resolve_device(options.device, options.dtype)[0]
    names = read_names(options.classes) if options.classes else None
    attacked = load_classifier(options.classifier, device, names)
    others = {spec: load_classifier(spec, device) for spec in options.transfer}
    for spec, other in others.items():
        if len(other.names) != len(attacked.names):
            raise UsageError(f"{spec} has {len(other.names)} classes, {attacked.name} has {len(attacked.names)}")
        if other.names != attacked.names and sorted(other.names) == sorted(attacked.names):
            raise UsageError(f"{spec} has the classes of {attacked.name} in another order: indices cannot be compared")
    return Classifiers(attacked, others, device)
