"""What a worker process is told, and the classifier that it works on."""

from dataclasses import dataclass
from functools import cached_property

from fastdiff.apps import inputs, ledger
from fastdiff.apps.attack.labels import Label
from fastdiff.apps.attack.options import Options
from fastdiff.apps.device import place
from fastdiff.apps.ledger import Ledger
from fastdiff.models.classifier import ClassifierTarget
from fastdiff.models.classifiers import load_classifier, read_names


@dataclass(frozen=True)
class Work:
    """Everything that a worker process is told: the options, and the inputs with the classes of each."""

    options: Options
    tasks: tuple[tuple[inputs.Item, Label], ...]

    def label(self, item: inputs.Item) -> Label:
        return self._by_item[item]

    def ledger(self, item: inputs.Item, content: str) -> Ledger:
        """The ledger of an output made of an input with the digest `content`."""
        key = ledger.digest(content, self.label(item), self._fingerprint)
        return Ledger(item.output, item.source, key)

    @cached_property
    def _by_item(self) -> dict[inputs.Item, Label]:
        return dict(self.tasks)

    @cached_property
    def _fingerprint(self) -> str:
        return self.options.fingerprint()


def attacked_classifier(options: Options) -> ClassifierTarget:
    """With the names of its classes that were given. Raises as `load_classifier` does."""
    names = read_names(options.classes) if options.classes else None
    return load_classifier(options.classifier, device_of(options), names)


def device_of(options: Options) -> str:
    """Where networks run."""
    return place(options.device, options.dtype)[0]
