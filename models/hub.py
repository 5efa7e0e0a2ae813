"""Models of the hub: what was downloaded before, and downloads when a person asks for one."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any

from fastdiff.solvers.errors import MissingError

if TYPE_CHECKING:
    from huggingface_hub import DryRunFileInfo

WANTED = (
    *("model_index.json", "README.md", "*/*.json", "*/*.txt", "*/*.model", "*/*.safetensors"),
    # of models of one part, such as classifiers; other weights beside a model_index.json are the same ones again
    *("*config.json", "token*.json", "vocab.*", "merges.txt", "*.model", "model*.safetensors", "model*.index*.json"),
)
# The same weights again, and a part that is never loaded.
UNWANTED = ("*.non_ema.*", "safety_checker/*", "text_encoders/*")
FP16 = "*.fp16[.-]*"  # the same weights again, or the only ones: whole, in shards, or an index of shards
NAME = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\w[\w./-]*))?")


@dataclass(frozen=True)
class HubId:
    """A repository of the hub, at a branch, tag or commit."""

    repository: str  # owner/name
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> "HubId | None":
        """From owner/name or owner/name@revision; None for anything else."""
        match = NAME.fullmatch(text)
        return cls(match["repository"], match["revision"] or cls.revision) if match else None

    def __str__(self) -> str:
        return self.repository if self.revision == "main" else f"{self.repository}@{self.revision}"


@dataclass(frozen=True)
class Offer:
    """The licence and the size of a download."""

    licence: str
    size: int  # bytes of all files
    missing: int  # bytes of those that are not here yet


def offer(model: HubId) -> Offer:
    """Ask the hub about a model. Raises MissingError where it does not answer or does not have it."""
    from huggingface_hub import model_info

    with _reaching(model):
        data = model_info(model.repository, revision=model.revision).card_data
        listed = _listed(model)
    spare = _spare(listed)
    files = [file for name, file in listed.items() if name not in spare]
    licence = str(data.get("license") or "not stated") if data else "not stated"
    size, missing = (sum(f.file_size or 0 for f in files if f.will_download or here) for here in (True, False))
    return Offer(licence, size, missing)


def download(model: HubId) -> Path:
    """Bring the configs and safetensors of a model, and return their folder; a stopped download resumes.

    Brings fp16 weights only for a part that has no others. Raises MissingError as `offer` does.
    """
    with _reaching(model):
        return Path(_snapshot(model, (*UNWANTED, *map(escape, _spare(_listed(model))))))


def cached(model: HubId) -> Path:
    """The folder of a downloaded model, without asking the hub.

    Raises MissingError where it is not here or not whole.
    """
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    command = f"`fastdiff models download {model}`"
    try:
        folder = Path(_snapshot(model, (*UNWANTED, FP16), local_files_only=True))
        _snapshot(model, UNWANTED, _fp16_alone(folder), local_files_only=True)
        return folder
    except IncompleteSnapshotError as error:
        raise MissingError(f"the download of {model} is incomplete: {command} resumes it") from error
    except LocalEntryNotFoundError as error:
        raise MissingError(f"{model} is not on this computer: {command} fetches it") from error


def downloaded() -> Iterator[tuple[HubId, Path]]:
    """Every model in the cache that has the layout of diffusers, with its folder."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return
    for repository in sorted(repositories, key=lambda repository: repository.repo_id):
        for revision in repository.revisions:
            if (revision.snapshot_path / "model_index.json").is_file():
                names = sorted(revision.refs) or [revision.commit_hash]
                yield HubId(repository.repo_id, "main" if "main" in names else names[0]), revision.snapshot_path


def _snapshot(model: HubId, ignored: Sequence[str], allowed: Sequence[str] = WANTED, **settings: Any) -> Any:
    from huggingface_hub import snapshot_download

    patterns: dict[str, Any] = {"allow_patterns": list(allowed), "ignore_patterns": list(ignored)}
    return snapshot_download(model.repository, revision=model.revision, **patterns, **settings)


def _listed(model: HubId) -> "dict[str, DryRunFileInfo]":
    """All files of a model that may be wanted, by name."""
    return {file.filename: file for file in _snapshot(model, UNWANTED, dry_run=True)}


def _spare(names: Iterable[str]) -> set[str]:
    """The files of fp16 weights in folders that hold others."""
    paths = [PurePosixPath(name) for name in names]
    folders = {path.parent for path in paths if _is_other(path)}
    return {str(path) for path in paths if path.match(FP16) and path.parent in folders}


def _fp16_alone(folder: Path) -> list[str]:
    """Patterns of the fp16 weights of networks in a downloaded folder that have no others."""
    configs = [path for path in folder.rglob("config.json") if not any(map(_is_other, path.parent.iterdir()))]
    parts = [config.parent.relative_to(folder).as_posix() for config in configs]
    return [f"model{FP16}" if part == "." else f"{escape(part)}/{FP16}" for part in parts]


def _is_other(path: PurePath) -> bool:
    """True for weights that are not in fp16."""
    return path.suffix == ".safetensors" and not path.match(FP16)


@contextmanager
def _reaching(model: HubId) -> Iterator[None]:
    """Turn what goes wrong between here and the hub into one sentence."""
    try:
        yield
    except Exception as error:  # of the connection, of the hub, of the disk: the client has no common base for them
        raise MissingError(f"cannot download {model}: {str(error).strip().partition(chr(10))[0]}") from error
