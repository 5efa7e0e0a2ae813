"""Tests that runs keep the files of others: random pairs of commands, killed runs, two runs at a time in one folder.

Usage: python -m benchmarks.crash_test [--pairs N] [--kills N] [--races N] [--seed N] [--jobs N]. Prints a table, and
exits with 1 if a check was violated.

- pairs: two random commands over shared folders, then the first again. No input and no file of others may change, no
  result may change except a report by its own command, every reported output must exist, and the first command must
  find its results again.
- kills: a command is killed (SIGKILL) at random moments and started again until it is through. Its outputs must be
  those of an undisturbed run, whole at any time, and no draft or lock may be left.
- races: two commands into one folder at the same time. Both succeed, or one reports that another is writing; every
  output must be that of its own command.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from signal import SIGKILL

import img2pdf
import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from benchmarks.result import Table
from fastdiff.cli.main import main as fastdiff
from fastdiff.models.nafdpm import Predictor, Size

LOADED = (
    "fastdiff.cli.main",
    "fastdiff.apps.docclean.document_cleaner",
    "fastdiff.apps.docclean.restoration.page_restorer",
    "fastdiff.apps.docclean.ocr.scoring",
    "fastdiff.apps.edit.editor",
    "fastdiff.apps.attack.app",
)
CLASSIFIER = """
import torch
class Colours(torch.nn.Module):
    side = 32
    names = ("red", "green", "blue")
    def forward(self, x):
        return 60 * x.mean((2, 3))
"""
NAMES = ("a.png", "b.png", "a-clean.png", "a-2.png", "scan.tif", "scan-0001.png", "sub/c.png", "notes.txt")
OTHERS = ("a.png", "a-2.png", "a-clean.png", "report.json", "scan-0002.png", "report-sheet.png", "a-difference.png")
BUSY = "another fastdiff run is writing into"
Files = dict[str, bytes]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("pairs", 200), ("kills", 50), ("races", 20), ("seed", 0), ("jobs", 2)):
        arguments.add_argument(f"--{name}", type=int, default=default)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tools = make_tools(folder)
        rows: list[tuple[str, int, int, str, int]] = []
        for what, count, check in (
            ("random pairs", chosen.pairs, partial(check_pairs, jobs=chosen.jobs)),
            ("kills", chosen.kills, check_kills),
            ("races", chosen.races, check_races),
        ):
            began = time.monotonic()
            note, faults = check(tools, folder / what, count, chosen.seed) if count else ("", [])
            rows.append((what, count, len(faults), note, round(time.monotonic() - began)))
            print("\n".join(f"{what}: {fault}" for fault in faults) or f"{what}: done", file=sys.stderr, flush=True)
    print(Table("files that runs should have left alone", ("what", "number", "violations", "", "seconds"), rows))
    return int(any(row[2] for row in rows))


def make_tools(folder: Path) -> Path:
    """Make a folder with weights that lighten pages, and a classifier of three colours."""
    tools = folder / "tools"
    tools.mkdir()
    net = Predictor(Size(channels=1, width=4, levels=2))
    torch.nn.init.zeros_(net.ending.weight)
    torch.nn.init.constant_(net.get_parameter("ending.bias"), 0.1)
    save_file({f"predictor.{name}": value for name, value in net.state_dict().items()}, tools / "w.safetensors")
    (tools / "three_colours.py").write_text(CLASSIFIER)
    return tools


def picture(seed: int, size: int = 120) -> Image.Image:
    """Draw a face of one colour on another: a page for docclean, an emoji for edit, a picture for attack."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), ("yellow", "gold", "khaki")[seed % 3])
    pen = ImageDraw.Draw(image)
    left, top = rng.integers(size // 6, size // 4, 2).tolist()
    pen.ellipse((left, top, left + size // 2, top + size // 2), fill="brown", outline="black")
    for eye in (left + size // 6, left + size // 3):
        pen.ellipse((eye, top + size // 5, eye + size // 15, top + size // 5 + size // 15), fill="black")
    return image


def command(app: str, tools: Path, *arguments: object) -> list[str]:
    """Return a fast command line of an application."""
    fast = {
        "docclean": ("--ocr", "none", "--weights", tools / "w.safetensors"),
        "edit": ("--source", "cat on a white background", "--steps", 2, "--attempts", 1),
        "attack": ("--method", "pgd", "--iterations", 2, "--classifier", "module:three_colours:Colours"),
    }
    return [app, *map(str, (*arguments, *fast[app]))]


# Pairs


def check_pairs(tools: Path, folder: Path, count: int, seed: int, jobs: int) -> tuple[str, list[str]]:
    """Run the pairs in processes that have loaded everything; return the number of runs, and the faults."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), os.chdir, (tools,)) as pool:
        done = list(pool.map(partial(check_pair, tools, folder), range(seed, seed + count)))
    codes = [code for codes, _ in done for code in codes]
    counts = ", ".join(f"{codes.count(code)} x exit {code}" for code in sorted(set(codes)))
    return counts, [fault for _, faults in done for fault in faults]


def check_pair(tools: Path, folder: Path, seed: int) -> tuple[list[int], list[str]]:
    """Run two random commands, and the first again; return the exit codes, and the violations."""
    torch.set_num_threads(1)
    rng = random.Random(seed)
    place = folder / f"{seed:04d}"
    write_random_files(place, rng)
    pair = [random_command(tools, place, rng) for _ in range(2)]
    makers: dict[str, list[str]] = {}  # of files that runs made
    codes: list[int] = []
    faults: list[str] = []
    for run in (*pair, pair[0]):
        before = contents(place)
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            code = fastdiff([*run, "--json"])
        after = contents(place)
        found = checked(run, code, out.getvalue(), before, after, makers, place)
        if len(codes) == 2 and codes[0] in (0, 4):
            found += [f"{name} is new when the first command runs again" for name in after.keys() - before.keys()]
        makers |= dict.fromkeys(after.keys() - before.keys(), run)
        faults += [f"pair {seed}: {fault}; by {' '.join(run)} ({err.getvalue().strip()[-200:]})" for fault in found]
        codes.append(code)
    shutil.rmtree(place)
    return codes, faults


def write_random_files(place: Path, rng: random.Random) -> None:
    """Write random inputs to `in`, and files of others to `out`."""
    for name in ("in/sub", "out"):
        (place / name).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        if rng.random() < 0.6 or name == "a.png":
            path = place / "in" / name
            if name.endswith(".txt"):
                path.write_text("notes")
            else:
                pages = [picture(50)] if name.endswith(".tif") else []
                picture(number).save(path, save_all=bool(pages), append_images=pages)
    for name in rng.sample(OTHERS, rng.randint(0, 3)):
        (place / "out" / name).write_text(f"somebody's {name}")
    (place / "edits.csv").write_text("input,prompt\nin/a.png,dog\nin/a.png,owl\n")


def random_command(tools: Path, place: Path, rng: random.Random) -> list[str]:
    """Return a command line over the folder, never with --force."""
    app = rng.choice(["docclean"] * 6 + ["edit", "attack"])
    many = [place / "in" / rng.choice(("", "*.png", "a*"))]
    single = [place / "in" / "a.png"]
    more: list[object] = []
    if app == "docclean":
        more += rng.choice(((), ("--format", "png"), ("--format", "pdf"), ("--task", "binarize")))
        more += rng.choice(((), (), ("--seed", 1)))
    elif app == "edit":
        more += ("--n", 2) if rng.random() < 0.3 else ()
    else:
        more += rng.choice(((), ("--seed", 1), ("--export-training-pairs", place / "pairs"), ("--epsilon", 0.5)))
    inputs = rng.choice((single, many))
    if app == "edit":
        inputs = single if rng.random() < 0.8 else many
        if rng.random() < 0.3:
            inputs, more = [], ["--csv", place / "edits.csv"]
        else:
            more += ("--prompt", rng.choice(("dog on a red background", "owl")))
    outs = [(), ("-o", place / "out"), ("-o", place / "out"), ("-o", place / "in" / "sub")]
    outs += [("-o", place / "out" / "a.png"), ("-o", place / "in" / "b.png")] if inputs is single else []
    reports = [(), (), (), (), ("--report", place / "out" / "report.json"), ("--report", place / "in" / "a.png")]
    recursive = ("-r",) if rng.random() < 0.3 else ()
    return command(app, tools, *inputs, *more, *rng.choice(outs), *rng.choice(reports), *recursive)


def checked(
    run: list[str], code: int, out: str, before: Files, after: Files, makers: dict[str, list[str]], place: Path
) -> list[str]:
    """Return the violations of a run."""
    faults = [f"exit code {code}"] if code not in (0, 2, 4, 5) else []
    for name, data in before.items():
        own_report = makers.get(name) == run and name.endswith((".json", "-sheet.png", "pairs.csv"))
        if after.get(name) != data and not own_report:
            faults.append(f"{name} {'changed' if name in after else 'is gone'}")
    if code in (0, 4):
        report = json.loads(out)
        rows = next(report[key] for key in ("pages", "edits", "images") if key in report)
        outputs = [row[key] for row in rows for key in ("output", "difference") if row.get(key)]
        outputs = outputs if run[0] != "docclean" else list(dict.fromkeys(outputs))
        names = [os.path.relpath(output, place) for output in outputs]
        faults += [f"{name} is reported and not there" for name in names if name not in after]
        faults += [f"{name} is reported and somebody's" for name in names if name in before and name not in makers]
        faults += [f"{name} is reported twice" for name in set(names) if names.count(name) > 1]
    return faults + leftovers(place)


# Kills


@dataclass(frozen=True)
class Reference:
    """A command, by its output folder, with the files of an undisturbed run and its seconds of work."""

    line: Callable[[Path], list[str]]
    files: Files
    seconds: float


def check_kills(tools: Path, folder: Path, count: int, seed: int) -> tuple[str, list[str]]:
    """Kill runs of all three applications at random moments; return the number of finished runs, and the faults."""
    rng = random.Random(seed)
    scans = many_inputs(folder / "in")
    lines = [
        lambda out: command("docclean", tools, scans, "-o", out),
        lambda out: command("attack", tools, scans, "-o", out, "--export-training-pairs", out / "pairs"),
        lambda out: command("edit", tools, scans / "0.png", "-o", out, "--prompt", "dog", "--n", 4),
        lambda out: command("docclean", tools, scans, "-o", out, "--format", "png", "--jobs", 2),
    ]
    references = [reference(line, folder / f"reference-{number}", tools) for number, line in enumerate(lines)]
    kills, through, faults = 0, 0, []
    seconds = [each.seconds for each in references]
    while kills < count:
        which, out = through % len(references), folder / f"killed-{through}"
        each = references[which]
        done: Files = {}
        while True:
            process = start(each.line(out), tools, out.with_suffix(".err"))
            last = kills >= count
            worked, killed = kill_within(process, out, None if last else rng.uniform(0, seconds[which]))
            kills += killed
            now = without_reports(contents(out))
            faults += [f"{name} is lost, {out.name}" for name in done.keys() - now.keys()]
            faults += [f"{name} is not whole, {out.name}" for name, data in now.items() if not same(name, data, each)]
            done = now
            if not killed:
                seconds[which] = worked
                break
        through += 1
        code = process.exitcode
        faults += [f"exit code {code}, {out.name}"] if code not in (0, 4) else []
        faults += [f"{name} is missing, {out.name}" for name in each.files.keys() - done.keys()] + leftovers(out)
    return f"{through} times through", faults


def many_inputs(folder: Path) -> Path:
    """Write six pictures and a PDF of four pages."""
    folder.mkdir(parents=True)
    for number in range(6):
        picture(number, 128).save(folder / f"{number}.png")
    pages = [folder / f"{number}.png" for number in range(4)]
    (folder / "manifest.pdf").write_bytes(img2pdf.convert([str(page) for page in pages]))
    return folder


def reference(line: Callable[[Path], list[str]], out: Path, tools: Path) -> Reference:
    process = start(line(out), tools, out.with_suffix(".err"))
    while not (out / ".fastdiff").exists() and process.is_alive():
        time.sleep(0.005)
    began = time.monotonic()
    process.join()
    return Reference(line, without_reports(contents(out)), time.monotonic() - began)


def kill_within(process: BaseProcess, out: Path, seconds: float | None) -> tuple[float, bool]:
    """Kill a run some seconds after it locks its folder; return its seconds of work, and True if it was killed."""
    while not (out / ".fastdiff" / "lock").exists() and process.is_alive():
        time.sleep(0.005)
    began = time.monotonic()
    process.join(seconds)
    process.kill()
    process.join()
    return time.monotonic() - began, process.exitcode == -SIGKILL


def same(name: str, data: bytes, each: Reference) -> bool:
    """True if a file equals that of the undisturbed run; a PDF, which notes its time, only has to be whole."""
    return data.rstrip().endswith(b"%%EOF") if name.endswith(".pdf") else each.files.get(name) == data


# Races


def check_races(tools: Path, folder: Path, count: int, seed: int) -> tuple[str, list[str]]:
    """Run two commands at a time into one folder; return the number of refusals, and the faults."""
    rng = random.Random(seed)
    scans = many_inputs(folder / "in")
    lines = [
        lambda out: command("docclean", tools, scans, "-o", out, "--task", "clean"),
        lambda out: command("docclean", tools, scans, "-o", out, "--task", "binarize"),
        lambda out: command("attack", tools, scans, "-o", out),
        lambda out: command("edit", tools, scans / "0.png", "-o", out, "--prompt", "dog"),
    ]
    references = [reference(line, folder / f"reference-{number}", tools) for number, line in enumerate(lines)]
    refused, faults = 0, []
    for number in range(count):
        out, two = folder / f"race-{number}", rng.sample(references, 2)
        errors = [folder / f"race-{number}-{index}.err" for index in (0, 1)]
        processes = [start(each.line(out), tools, error) for each, error in zip(two, errors, strict=True)]
        for process in processes:
            process.join()
        codes = [process.exitcode for process in processes]
        said = [error.read_text() for error in errors]
        busy = [code == 5 and BUSY in text for code, text in zip(codes, said, strict=True)]
        refused += sum(busy)
        if all(busy) or any(code not in (0, 4) and not late for code, late in zip(codes, busy, strict=True)):
            faults.append(f"race {number}: exit codes {codes}, {said}")
        winners = [each for each, late in zip(two, busy, strict=True) if not late]
        made = without_reports(contents(out))
        if sorted(data for name, data in made.items() if not name.endswith(".pdf")) != sorted(
            data for each in winners for name, data in each.files.items() if not name.endswith(".pdf")
        ):
            faults.append(f"race {number}: the outputs are not those of the commands, {sorted(made)}")
        faults += [f"race {number}: {fault}" for fault in leftovers(out)]
    return f"{refused} of {2 * count} runs refused", faults


# Files


def start(line: Sequence[str], tools: Path, errors: Path) -> BaseProcess:
    """Start a process that runs the command, forked from one that has loaded everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    process = context.Process(target=run, args=(list(line), tools, errors))
    process.start()
    return process


def run(line: list[str], tools: Path, errors: Path) -> None:
    """Run the command in this process, with its standard error in a file."""
    os.chdir(tools)
    torch.set_num_threads(1)
    with open(os.devnull, "w") as nowhere, errors.open("w") as error:
        sys.stdout, sys.stderr = nowhere, error
        code = fastdiff(line)
    os._exit(code)


def contents(folder: Path) -> Files:
    """Return all files except those of the manifest, by their paths."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".fastdiff" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def without_reports(files: Files) -> Files:
    """Return the files without those that hold times or paths."""
    return {name: data for name, data in files.items() if not name.endswith((".json", "-sheet.png"))}


def leftovers(folder: Path) -> list[str]:
    """Return drafts, locks and parts that a run left."""
    paths = (path for manifest in folder.rglob(".fastdiff") for path in manifest.iterdir())
    left = [path for path in paths if path.suffix != ".json" or path.name.startswith(".")]
    return [f"{path.relative_to(folder)} is left" for path in (*left, *folder.rglob("*.part"))]


if __name__ == "__main__":
    sys.exit(main())
