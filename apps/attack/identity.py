"""Digests of what an attack depends on besides its input and labels: by content, never by name.

An option counts where it changes the picture by more than rounding does: a precision does, a device, the number of
processes and the size of a batch do not. Names of classifiers count beside their contents, since reports hold them.
What a classifier of one's own loads elsewhere is checked by its logits (`fastdiff.apps.attack.reuse`).
"""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from itertools import chain

from fastdiff.apps.attack.options import Options
from fastdiff.apps.device import resolve_device
from fastdiff.apps.running import output_manifest
from fastdiff.models import digest
from fastdiff.models.catalogue import find
from fastdiff.models.classifier import ClassifierTarget
from fastdiff.models.classifier_loading import model_folder
from fastdiff.models.fingerprint import add_tensor

LITE_CODE = "efficientnet-lite-pytorch"
CODE = {"timm": "timm", "torchvision": "torchvision", "hf": "transformers"}  # the package with the network's code
PRIOR_CODE = ("diffusers", "transformers")


def fingerprint(options: Options, classifiers: Sequence[ClassifierTarget]) -> str:
    """The digest of everything but input and labels that an attack depends on, versions included.

    `classifiers` are the attacked one, its surrogates, and those that results are tried on. Raises UsageError or
    MissingError for files and models that are not here.
    """
    files = [path and digest.of_file(path) for path in (options.classes, options.caption_file)]
    prior = []
    if options.preset.uses_prior:
        prior = [version(package) for package in PRIOR_CODE]
        prior += [digest.of_model(find(options.model))]
        prior += [digest.of_model(model_folder(options.captioner))] if options.captioner else []
    return output_manifest.digest(
        repr(
            (
                version("fastdiff-toolkit"),
                *(
                    options.transfer,
                    options.surrogates,
                    options.method,
                    options.preset,
                    options.caption,
                    options.target,
                    options.seed,
                ),
                resolve_device(options.device, options.dtype)[1],
                files,
                prior,
                [of_classifier(classifier) for classifier in classifiers],
            )
        )
    )


def of_classifier(classifier: ClassifierTarget) -> str:
    """Return the digest of a classifier: name, preprocessing, classes, weights, and code (a version, or its file)."""
    family, _, name = classifier.name.partition(":")
    parts = (classifier.name, classifier.preprocessing, classifier.names, _code(family, name))
    total = hashlib.sha256(repr(parts).encode())
    for key, value in chain(classifier.net.named_parameters(), classifier.net.named_buffers()):
        add_tensor(total, key, value)
    if classifier.code is not None:
        total.update(digest.of_file(classifier.code).encode())
    return total.hexdigest()


def _code(family: str, name: str) -> tuple[str, ...]:
    """The version of the package that holds the network's code, and the digest of the folder with its settings."""
    if family == "module":
        return ()
    package = CODE.get(family, LITE_CODE)
    if family not in ("timm", "hf"):
        return package, version(package)
    folder = model_folder(name, owner="timm" if family == "timm" else None)
    return package, version(package), digest.of_model(folder)
