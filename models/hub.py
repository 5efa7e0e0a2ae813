"""Models of the hub: what was downloaded before, and downloads when a person asks for one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastdiff.solvers.errors import MissingError

WANTED: dict[str, Any] = {
    "allow_patterns": [
        *("model_index.json", "README.md", "*/*.json", "*/*.txt", "*/*.model", "*/*.safetensors"),
        # of models of one part, such as classifiers; other weights beside a model_index.json are the same ones again
        *("*config.json", "token*.json", "vocab.*", "merges.txt", "*.model", "model*.safetensors", "model*.index.json"),
    ],
    # the same weights again, and a part that is never loaded
    "ignore_patterns": ["*.fp16.*", "*.non_ema.*", "safety_checker/*", "text_encoders/*"],
}
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
    from huggingface_hub import model_info, snapshot_download

    with _reaching(model):
        data = model_info(model.repository, revision=model.revision).card_data
        files = snapshot_download(model.repository, revision=model.revision, **WANTED, dry_run=True)
    licence = str(data.get("license") or "not stated") if data else "not stated"
    return Offer(licence, sum(f.file_size for f in files), sum(f.file_size for f in files if f.will_download))


def download(model: HubId) -> Path:
    """Bring the configs and safetensors of a model, and return their folder; a stopped download resumes.

    Raises MissingError as `offer` does.
    """
    from huggingface_hub import snapshot_download

    with _reaching(model):
        return Path(snapshot_download(model.repository, revision=model.revision, **WANTED))


def cached(model: HubId) -> Path:
    """The folder of a downloaded model, without asking the hub.

    Raises MissingError where it is not here or not whole.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    command = f"`fastdiff models download {model}`"
    try:
        return Path(snapshot_download(model.repository, revision=model.revision, **WANTED, local_files_only=True))
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


@contextmanager
def _reaching(model: HubId) -> Iterator[None]:
    """Turn what goes wrong between here and the hub into one sentence."""
    try:
        yield
    except Exception as error:  # of the connection, of the hub, of the disk: the client has no common base for them
        raise MissingError(f"cannot download {model}: {str(error).strip().partition(chr(10))[0]}") from error
