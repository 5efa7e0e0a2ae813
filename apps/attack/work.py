"""The input of attack's worker processes, and their classifiers."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from fastdiff.apps.attack.labels import Label
from fastdiff.apps.attack.options import Options
from fastdiff.apps.device import resolve_device
from fastdiff.apps.running import inputs, output_manifest
from fastdiff.apps.running.output_manifest import OutputManifest
from fastdiff.models.classifier import ClassifierTarget, folded, numbered
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
    """The attacked classifier, its surrogates, and by name those that results are tested on (transfer), on one device.

    `counterparts` hold for each of the others the index there of every class of the attacked one, None where it has no
    class of that name.
    """

    attacked: ClassifierTarget
    others: Mapping[str, ClassifierTarget]
    counterparts: Mapping[str, tuple[int | None, ...]]
    device: str
    surrogates: tuple[ClassifierTarget, ...] = ()


def load_classifiers(options: Options) -> Classifiers:
    """Load the classifiers of the options; the attacked one takes the given class names.

    Raises as `load_classifier` does, and UsageError for a classifier that has none of the attacked one's classes.
    """
    device = resolve_device(options.device, options.dtype)[0]
    names = read_names(options.classes) if options.classes else None
    attacked = load_classifier(options.classifier, device, names)
    others = {spec: load_classifier(spec, device) for spec in options.transfer}
    found = {spec: counterparts(attacked, other, named=names is not None) for spec, other in others.items()}
    surrogates = tuple(load_classifier(spec, device) for spec in options.surrogates)
    return Classifiers(attacked, others, found, device, surrogates)


@cache
def shared_classifiers(options: Options) -> Classifiers:
    """Return the classifiers of this worker process, which loads them once and ends with the run.

    Raises as `load_classifiers` does.
    """
    return load_classifiers(options)


def counterparts(attacked: ClassifierTarget, other: ClassifierTarget, *, named: bool) -> tuple[int | None, ...]:
    """Return for every class of the attacked classifier the index of the other's class of that name, None without one.

    Names agree if one of their synonyms, which commas separate, does; of several classes that agree, the one of the
    same index counts, else none. Classes without names count by index where both have as many, and the attacked one has
    none either or has those `named` by a person. Raises UsageError if no class has a counterpart.
    """
    count = len(attacked.names)
    unnamed = other.names == numbered(len(other.names))
    if other.names == attacked.names or (unnamed and named and len(other.names) == count):
        return tuple(range(count))
    by_name: dict[str, set[int]] = {}
    for index, name in enumerate(other.names):
        for synonym in _synonyms(name):
            by_name.setdefault(synonym, set()).add(index)
    found: list[int | None] = []
    for index, name in enumerate(attacked.names):
        agreeing = set().union(*(by_name.get(synonym, set()) for synonym in _synonyms(name)))
        found.append(index if index in agreeing else agreeing.pop() if len(agreeing) == 1 else None)
    if all(each is None for each in found):
        mine, theirs = (", ".join(each.names[:3]) for each in (attacked, other))
        raise UsageError(
            f"{other.name} has no class named like those of {attacked.name} ({theirs} ...; {mine} ...): give both the "
            "names of their classes, as an attribute `names`"
        )
    return tuple(found)


def _synonyms(name: str) -> list[str]:
    return [folded(each) for each in name.split(",")]
