"""One archive with all that training reads, for a machine without internet.

Run as `python -m fastdiff.training.archive training.tar [PATH ...]`; each PATH, such as the folder of a run, is packed
under its own name. On the other machine, `sh train.sh edit --folder runs/edit` is `fastdiff train edit --folder ...`.
"""

import argparse
import importlib
import io
import tarfile
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path

from fastdiff.training.data_folders import data_folders, find_data, find_font
from fastdiff.training.docclean.fonts import FAMILIES, installed_faces
from fastdiff.training.prior.photos import LISTED

PACKAGES = ("apps", "cli", "data", "inversion", "models", "solvers", "training")
SCRIPT = """\
#!/bin/sh
# Usage: sh train.sh COMMAND [OPTION ...], as `fastdiff train COMMAND [OPTION ...]`, with the data beside this file.
# Wheels of all requirements in the folder `wheels` are installed first; without it, python3 has to have them.
cd "$(dirname "$0")" || exit
export XDG_DATA_HOME="$PWD/share" PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1
python=python3
if [ -d wheels ]; then
    python=venv/bin/python
    if [ ! -e venv/installed ]; then
        python3 -m venv venv && venv/bin/pip install --no-index wheels/*.whl && touch venv/installed || exit
    fi
fi
exec "$python" -c 'import sys; from fastdiff.cli.main import main; sys.exit(main(sys.argv[1:]))' train "$@"
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="archive", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("archive", type=Path, metavar="ARCHIVE", help="a tar file")
    parser.add_argument("paths", type=Path, nargs="*", metavar="PATH", help="more files and folders, for example a run")
    arguments = parser.parse_args()
    pack(arguments.archive, arguments.paths)


def pack(archive: Path, more: Iterable[Path] = ()) -> None:
    """Write fastdiff with its weights, the installed fonts and photographs that training reads, `more`, and train.sh.

    `more` are relative paths, which stay as they are, or absolute ones, of which the last part stays.
    """
    installed = distribution("fastdiff-toolkit")
    metadata = Path(f"fastdiff_toolkit-{installed.version}.dist-info", "METADATA")
    with tarfile.open(archive, "w") as tar:
        _write(tar, Path("train.sh"), SCRIPT)
        _write(tar, metadata, installed.read_text("METADATA") or "")
        for name in PACKAGES:
            folder = Path(importlib.import_module(f"fastdiff.{name}").__path__[0])
            tar.add(folder.resolve(), f"fastdiff/{name}", filter=_without_caches)
        for path in sorted(set(_data())):
            tar.add(path.resolve(), str(Path("share", _relative(path))))
        for path in more:
            tar.add(path, path.name if path.is_absolute() else str(path))


def _data() -> Iterator[Path]:
    """The installed fonts of FAMILIES, that of the scenes, and the photographs."""
    faces = installed_faces()
    for family in {name for names in FAMILIES.values() for name in names}:
        yield from (face.path for face in faces.get(family, ()))
    wanted = (find_font("NotoColorEmoji.ttf"), *(find_data(photo.path) for photo in LISTED))
    yield from (path for path in wanted if path)


def _relative(path: Path) -> Path:
    return next(path.relative_to(folder) for folder in data_folders() if path.is_relative_to(folder))


def _without_caches(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in member.name else member


def _write(tar: tarfile.TarFile, name: Path, text: str) -> None:
    member, content = tarfile.TarInfo(str(name)), text.encode()
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    main()
