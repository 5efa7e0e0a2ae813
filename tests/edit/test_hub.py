"""Models by name: the real client of the hub against a small hub of our own, and `fastdiff models` on top."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub
import pytest
import torch
from safetensors.torch import load, save
from tiny_pixart import write

from fastdiff.cli.main import main
from fastdiff.models.catalogue import find
from fastdiff.models.registry import load_editable
from fastdiff.solvers.errors import MissingError, UsageError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "painter/tiny"


@pytest.fixture(scope="module")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = write(tmp_path_factory.mktemp("hub") / "model")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nTiny.\n")
    (folder / "transformer" / "weights.bin").write_bytes(b"pickle")
    (folder / "evil.py").write_text("raise SystemExit\n")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def files(model_files: dict[str, bytes]) -> dict[str, bytes]:
    """The files of the model, which a test may change before the first download."""
    return dict(model_files)


def git_digest(body: bytes) -> str:
    return hashlib.sha1(f"blob {len(body)}\0".encode() + body).hexdigest()


@dataclass(frozen=True)
class Hub:
    """Where a server of one model listens, and a cache for what it gives."""

    endpoint: str
    cache: Path

    def fastdiff(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own: the client reads its settings once."""
        code = f"from fastdiff.cli.main import main; raise SystemExit(main({list(arguments)}))"
        settings = os.environ | {"HF_ENDPOINT": self.endpoint, "HF_HUB_CACHE": str(self.cache)}
        return subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True)


@pytest.fixture
def hub(files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    def tree() -> list[dict[str, object]]:
        return [
            {"type": "file", "path": path, "size": len(body), "oid": git_digest(body), **lfs(path, body)}
            for path, body in files.items()
        ]

    def lfs(path: str, body: bytes) -> dict[str, object]:
        digest = {"oid": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 134}
        return {"lfs": digest} if path.endswith(".safetensors") else {}

    class Answers(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith(f"/api/models/{NAME}/tree/"):
                self.send(json.dumps(tree()).encode())
            elif path in (f"/api/models/{NAME}", f"/api/models/{NAME}/revision/main"):
                told = {"id": NAME, "sha": COMMIT, "cardData": {"license": "apache-2.0"}, "siblings": []}
                self.send(json.dumps(told).encode())
            elif match := re.fullmatch(f"/{NAME}/resolve/{COMMIT}/(.*)", path):
                is_large = match[1].endswith(".safetensors")
                self.send(files[match[1]], digest=hashlib.sha256(files[match[1]]).hexdigest() if is_large else None)
            else:
                self.send(b"{}", 404)

        def send(self, body: bytes, status: int = 200, digest: str | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{digest or git_digest(body)}"')
            if digest:
                self.send_header("X-Linked-ETag", f'"{digest}"')
                self.send_header("X-Linked-Size", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *given: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield Hub(f"http://127.0.0.1:{server.server_port}", tmp_path / "cache")
        server.shutdown()


def test_a_model_is_downloaded_listed_shown_and_found(hub: Hub, files: dict[str, bytes]) -> None:
    with pytest.raises(MissingError, match=f"`fastdiff models download {NAME}` fetches it"):
        find(NAME)
    first, last = hub.fastdiff("models", "download", NAME).stdout.splitlines()
    wanted = {path for path in files if not path.endswith((".bin", ".py"))}
    size = sum(len(files[path]) for path in wanted) / 1e6
    assert first == f"{NAME}: {size:.1f} MB, {size:.1f} MB to download, licence: apache-2.0"
    assert last == f"in {find(NAME)}"
    brought = {path.relative_to(find(NAME)).as_posix() for path in find(NAME).rglob("*") if path.is_file()}
    assert brought == wanted
    assert "0.0 MB to download" in hub.fastdiff("models", "download", NAME).stdout


def test_a_downloaded_model_is_listed_shown_and_loaded(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    assert NAME not in capsys.readouterr().out
    hub.fastdiff("models", "download", NAME)
    assert main(["models", "list"]) == 0
    printed = capsys.readouterr().out
    told = r"PixArtAlpha  0\.\d MB  float32  fits: 0\.\d MB of \d+\.\d GB (GPU )?memory"
    assert re.search(rf"^{NAME}  {told}  {find(NAME)}$", printed, re.MULTILINE)
    assert re.search(r"^scenes  PixArtAlpha  2\d\.\d MB  \w+  fits: ", printed, re.MULTILINE)
    assert main(["models", "show", NAME]) == 0
    shown = capsys.readouterr().out
    for told in ("licence: apache-2.0", "pictures: 256x256", "prediction_type epsilon", "diffusers.AutoencoderKL"):
        assert told in shown
    assert load_editable(NAME).name == NAME


def test_a_download_that_stopped_is_told(hub: Hub) -> None:
    hub.fastdiff("models", "download", NAME)
    (find(NAME) / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(MissingError, match="is incomplete: `fastdiff models download"):
        find(NAME)


def test_files_are_verified_by_their_digests(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.fastdiff("models", "download", NAME)
    folder = find(NAME)
    assert main(["models", "verify", NAME]) == 0
    count = sum(path.is_file() for path in folder.rglob("*"))
    assert capsys.readouterr().out == f"{NAME}: {count} files as published\n"
    damaged = [folder / "vae" / "diffusion_pytorch_model.safetensors", folder / "model_index.json"]
    for path in damaged:
        content = path.read_bytes()
        path.resolve().write_bytes(content[:-1] + b" ")
        assert main(["models", "verify", NAME]) == 2
        printed = capsys.readouterr().err
        assert f"1 file of {NAME} is not as published, {path.relative_to(folder)}: delete {path.resolve()}" in printed
        assert printed.count("\n") == 1
        path.resolve().unlink()
        hub.fastdiff("models", "download", NAME)
        assert path.read_bytes() == content and main(["models", "verify", NAME]) == 0
        capsys.readouterr()


def test_a_link_to_a_file_that_is_gone_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Caches of earlier clients do not list the files of a download, so nothing else notices."""
    body = b"whole"
    (tmp_path / git_digest(body)).write_bytes(body)
    folder = tmp_path / "snapshot"
    (folder / "vae").mkdir(parents=True)
    (folder / "model_index.json").symlink_to(tmp_path / git_digest(body))
    (folder / "vae" / "model.safetensors").symlink_to(tmp_path / ("0" * 64))
    assert main(["models", "verify", str(folder)]) == 2
    printed = capsys.readouterr().err
    assert f"1 file of {folder} is missing, vae/model.safetensors: download" in printed and printed.count("\n") == 1


@pytest.mark.parametrize("name", ["scenes", "FOLDER"])
def test_folders_without_digests_are_not_verified(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "verify", str(write(tmp_path / "mine")) if name == "FOLDER" else name]) == 2
    assert "has no digests to compare its files with" in capsys.readouterr().err


def test_a_broken_model_is_listed_as_such(hub: Hub) -> None:
    hub.fastdiff("models", "download", NAME)
    (find(NAME) / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    listed = hub.fastdiff("models", "list")
    assert listed.returncode == 0
    assert re.search(rf"^{NAME}  0\.\d MB  broken: .*transformer", listed.stdout, re.MULTILINE)


def test_fp16_weights_are_downloaded_where_there_are_no_others(hub: Hub, files: dict[str, bytes]) -> None:
    spare = {f"vae/diffusion_pytorch_model.fp16{rest}.safetensors": b"spare" for rest in ("", "-00001-of-00001")}
    shard = "diffusion_pytorch_model.fp16-00001-of-00001.safetensors"
    weights = load(files.pop("transformer/diffusion_pytorch_model.safetensors"))
    index = json.dumps({"metadata": {}, "weight_map": dict.fromkeys(weights, shard)})
    files["transformer/diffusion_pytorch_model.safetensors.index.fp16.json"] = index.encode()
    files[f"transformer/{shard}"] = save({name: each.half() for name, each in weights.items()}, {"format": "pt"})
    files["text_encoder/model.fp16.safetensors"] = files.pop("text_encoder/model.safetensors")
    size = sum(len(body) for path, body in files.items() if not path.endswith((".bin", ".py"))) / 1e6
    files |= spare
    told = hub.fastdiff("models", "download", NAME).stdout
    assert f"{size:.1f} MB to download" in told
    folder = find(NAME)
    brought = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert brought == {path for path in files if not path.endswith((".bin", ".py"))} - set(spare)
    loaded = load_editable(NAME).network.state_dict()
    assert all(torch.allclose(loaded[name], value, atol=1e-2) for name, value in weights.items())
    for lost in (folder / "transformer" / shard, folder / "text_encoder" / "model.fp16.safetensors"):
        content = lost.readlink()
        lost.unlink()
        with pytest.raises(MissingError, match="is incomplete"):
            find(NAME)
        lost.symlink_to(content)
    assert find(NAME) == folder


def test_what_cannot_be_downloaded_is_one_sentence(hub: Hub) -> None:
    gone = Hub("http://127.0.0.1:9", hub.cache)
    for place, name in ((hub, "painter/unknown"), (hub, "painter/-"), (gone, NAME)):
        done = place.fastdiff("models", "download", name)
        assert done.returncode in (2, 3)
        assert done.stderr.startswith("fastdiff: ") and done.stderr.count("\n") == 1 and name in done.stderr


@pytest.mark.parametrize("name", ["nonsense", "a/b/c", "../up", "/nowhere/at/all", "a b/c", "x" * 5000])
def test_names_of_nothing_are_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="unknown model"):
        find(name)
    assert main(["models", "download", name]) == 2
    assert "owner/name" in capsys.readouterr().err


def test_a_folder_is_found_by_its_path(tmp_path: Path) -> None:
    assert find(str(tmp_path)) == tmp_path
