"""Digests of everything that a cleaned page depends on besides its document, by content and never by name.

An option counts if it changes the page or its scores by more than rounding: a precision counts, a device or the number
of processes does not.
"""

from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from fastdiff.apps.device import resolve_device
from fastdiff.apps.docclean.guard import mark_classifier
from fastdiff.apps.docclean.ocr.engine_version import engine_version
from fastdiff.apps.docclean.options import Options
from fastdiff.apps.running import output_manifest
from fastdiff.models import digest
from fastdiff.models.restorers import BUNDLED, bundled


def fingerprint(options: Options) -> str:
    """Return the digest of everything that a page depends on, versions included, except its document and true text.

    Raises UsageError for a file that cannot be read, MissingError for absent weights or an absent device.
    """
    file = options.solver_file
    return output_manifest.digest(
        repr(
            (
                version("fastdiff-toolkit"),
                version("wordfreq"),  # its words decide whether a page is kept
                engine_version(options.ocr),
                [(path.name, digest.of_file(path)) for path in _weights(options.weights)],
                digest.of_file(Path(str(files("fastdiff.data") / mark_classifier.FILE))),
                None if file is None else digest.of_file(file),
                *(options.task, options.trust_digits, options.ocr, options.force_clean, options.break_signatures),
                *(options.solver, options.calls, options.seed),
                resolve_device(options.device, options.dtype)[1],
            )
        )
    )


def _weights(given: Path | None) -> list[Path]:
    if given is None:
        return sorted({bundled(name) for name in BUNDLED})
    return [given] if given.is_file() else [path for path in sorted(given.glob("*")) if path.is_file()]
