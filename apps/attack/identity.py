"""What a result depends on besides its input: the options, and what the names in them stand for at the moment."""

import hashlib
import importlib.metadata
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from fastdiff.apps import ledger
from fastdiff.apps.attack.options import Options
from fastdiff.models.catalogue import find
from fastdiff.models.classifier import ClassifierTarget
from fastdiff.models.classifiers import model_folder
from fastdiff.models.fingerprint import add_tensor


def fingerprint(options: Options, classifiers: Sequence[ClassifierTarget]) -> str:
    """A digest of everything but input and labels that a result depends on, the version included.

    `classifiers` are the attacked one and those that results are tried on. Raises UsageError or MissingError for files
    and models that are not here.
    """
    how = (options.transfer, options.model, options.preset, options.caption, options.captioner, options.dtype)
    files = [path and ledger.file_digest(path) for path in (options.classes, options.caption_file)]
    folders = []
    if options.preset.perturb != "pixels":
        folders.append(_of_folder(find(options.model)))
        if options.captioner:
            folders.append(_of_folder(model_folder(options.captioner)))
    version = importlib.metadata.version("fastdiff-toolkit")
    networks = [of_classifier(classifier) for classifier in classifiers]
    return ledger.digest(version, *how, *files, *folders, *networks, options.target, options.seed)


def of_classifier(classifier: ClassifierTarget) -> str:
    """Of its name, view and classes, its weights, and the file of the code of a network of one's own."""
    total = hashlib.sha256(repr((classifier.name, classifier.view, classifier.names)).encode())
    for name, value in chain(classifier.net.named_parameters(), classifier.net.named_buffers()):
        add_tensor(total, name, value)
    if classifier.code is not None:
        total.update(ledger.file_digest(classifier.code).encode())
    return total.hexdigest()


def _of_folder(folder: Path) -> str:
    """Of names, sizes and times of the files, which are gigabytes."""
    stats = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return ledger.digest(*((path.relative_to(folder), stat.st_size, stat.st_mtime_ns) for path, stat in stats))
