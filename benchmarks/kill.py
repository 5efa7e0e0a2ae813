"""A run of 20 pages, killed at random moments and started again until it is through: nothing partial, nothing twice.

Usage: python -m benchmarks.kill DATA [--weights FILE] [--seed N]. DATA/noisyoffice/noisy holds the pages: ten are
cleaned as images, ten as one PDF.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import img2pdf
from PIL import Image

from fastdiff.apps.docclean.document import open_document

PAGES = 20


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--weights", type=Path)
    arguments.add_argument("--seed", type=int, default=0)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scans, out = Path(folder) / "scans", Path(folder) / "out"
        lay_out(sorted((chosen.data / "noisyoffice" / "noisy").glob("*.png"))[:PAGES], scans)
        command = [sys.executable, "-c", "import sys; from fastdiff.cli.main import main; sys.exit(main())"]
        command += ["docclean", str(scans), "-o", str(out), "--ocr", "none"]
        command += ["--weights", str(chosen.weights)] if chosen.weights else []
        kill_until_done(command, out, random.Random(chosen.seed))


def lay_out(pages: list[Path], folder: Path) -> None:
    """Half of the pages as images, half as one PDF."""
    folder.mkdir()
    for page in pages[: PAGES // 2]:
        shutil.copy(page, folder / page.name)
    (folder / "book.pdf").write_bytes(img2pdf.convert([str(page) for page in pages[PAGES // 2 :]]))


def kill_until_done(command: list[str], out: Path, chance: random.Random) -> None:
    """Start the command again and again; print what stands after each kill, and whether it only ever grows."""
    print("run  killed after  pages done  done again  broken files")
    done: dict[str, str] = {}
    for run in range(1, 100):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = chance.uniform(2, 4.5)  # it takes about two to load, and six to clean the pages
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        killed = process.returncode == -signal.SIGKILL
        now = finished(out)
        again = sum(now.get(page, stamp) != stamp for page, stamp in done.items())
        when = f"{seconds:8.1f} s" if killed else "not killed"
        print(f"{run:3d}  {when:>12}  {len(now):10d}  {again:10d}  {len(broken(out)):12d}", flush=True)
        done |= now
        if not killed:
            break
    summary = json.loads((out / "report.json").read_text())["summary"]
    left = [path.name for path in out.rglob("*.part*")]
    print(f"{summary['pages']} pages reported, {summary['failed']} failed, left over: {left or 'none'}")


def finished(out: Path) -> dict[str, str]:
    """The pages that the ledger holds, each with its record, whose seconds tell one cleaning from another."""
    records = []
    for entry in out.glob(".fastdiff/*.json"):
        records += json.loads(entry.read_text())["records"]
    for part in out.glob(".fastdiff/*.parts/*.json"):
        records.append(json.loads(part.read_text()))
    return {f"{record['output']} {record['page']}": json.dumps(record) for record in records}


def broken(out: Path) -> list[Path]:
    """Outputs that cannot be read to their last page."""
    bad = []
    for path in (path for kind in ("*.png", "*.pdf") for path in out.glob(kind)):
        try:
            if path.suffix == ".png":
                Image.open(path).load()
            with open_document(path) as document:
                for index in range(document.count):
                    document.page(index)
        except Exception:
            bad.append(path)
    return bad


if __name__ == "__main__":
    main()
