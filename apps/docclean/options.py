"""Options of docclean; light to import, for the command line and for worker processes."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from fastdiff.apps.option_paths import take_paths
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.validation import check_name

TASKS = ("auto", "clean", "deblur", "binarize")
ENGINES = ("easyocr", "rapidocr", "tesseract", "none")
SOLVER = "ddim"
CALLS = 0  # of the denoiser: calls make clean worse, and hardly change binarize (benchmarks, section "stage")
DEBLUR_CALLS = 1  # where there is a denoiser: real documents read better by one (section "stage")
FORMATS = {"png": ".png", "tiff": ".tiff", "jpg": ".jpg", "pdf": ".pdf"}


@dataclass(frozen=True)
class Options:
    """The inputs of a run and how to clean them.

    `inputs` are files, folders (with `recursive` their sub-folders) and patterns. `out` and the default names of
    outputs are those of `running.inputs.plan` with the verb "clean". `task` is one of TASKS; auto chooses clean or
    deblur for each page. `trust_digits` lets deblurring rewrite words with digits. `ocr` is one of ENGINES; `truth` is
    a folder of true texts. `force_clean` writes the output of the networks, even if content was lost.
    `break_signatures` also cleans signed PDFs, whose signatures become invalid. `format` is one of FORMATS, or None for
    the kind of the input.

    `solver` and `calls` of the network default to SOLVER and CALLS, for deblurring with a denoiser DEBLUR_CALLS;
    `weights` (a file or a folder) default to the bundled ones.
    `solver_file` replaces `solver`: it was tuned to the network of one task, and its fewest calls are the default.
    `force` cleans finished pages again and replaces files of others, but never an input. `report` is the path of
    report.json. Paths may be given as text.
    """

    inputs: tuple[str, ...]
    out: Path | None = None
    recursive: bool = False
    force: bool = False
    task: str = "auto"
    trust_digits: bool = False
    ocr: str = "easyocr"
    truth: Path | None = None
    force_clean: bool = False
    break_signatures: bool = False
    format: str | None = None
    solver: str | None = None
    calls: int | None = None
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    weights: Path | None = None
    solver_file: Path | None = None
    report: Path | None = None
    jobs: int = 1

    def __post_init__(self) -> None:
        take_paths(self)
        for name, value, allowed in (
            ("task", self.task, TASKS),
            ("OCR engine", self.ocr, ENGINES),
            ("format", self.format or "png", FORMATS),
        ):
            check_name(name, value, allowed)
        if not self.inputs:
            raise UsageError("no input: give files, folders or patterns")
        if self.solver_file is not None and (self.solver or self.task == "auto"):
            raise UsageError("a solver file is for the network of one task: give --task, and no --solver")
        if self.trust_digits and self.task != "deblur":
            raise UsageError("--trust-digits lets deblurring rewrite digits: give it with --task deblur")
        if self.truth is not None and self.ocr == "none":
            raise UsageError("a true text is compared with what OCR reads: choose another OCR engine than none")

    @property
    def reads(self) -> tuple[Path, ...]:
        """The files that a run reads besides its inputs: weights, solver file, true texts."""
        named = [path for path in (self.weights, self.solver_file) if path is not None]
        weights = self.weights.glob("*.safetensors") if self.weights is not None else ()
        truth = [self.truth.glob(pattern) for pattern in ("*.txt", "*.hocr")] if self.truth is not None else ()
        return (*named, *weights, *chain.from_iterable(truth))
