"""Files that a run chooses before it starts: none of others, none of its inputs, each once; and the lock on them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from fastdiff.apps.running.claims import Claims, OutputRequest
from fastdiff.apps.running.folder_locks import FolderLocks
from fastdiff.apps.running.inputs import Item, beside, plan, summary
from fastdiff.apps.running.output_manifest import FOLDER, OutputManifest
from fastdiff.cli.main import main
from fastdiff.solvers.errors import OutputError, UsageError

SUFFIXES = {".png": "png", ".tif": "tiff", ".pdf": "pdf"}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def result(output: Path, request: str, *names: str) -> None:
    """Make `output`, or the named files, as a run for this request does."""
    manifest = OutputManifest(output, output.with_name("source"), "key", request)
    with manifest.drafts([output.with_name(name) for name in names] or [output]) as drafts:
        for draft in drafts.values():
            draft.write_bytes(os.fsencode(request))
        manifest.publish(drafts, [{}], final=True)


def wanted(output: Path, request: str, *, named: bool = False, pages: int = 1) -> OutputRequest:
    def files(path: Path) -> Sequence[Path]:
        return [path] if pages == 1 else [path.with_name(f"{path.stem}-{n}{path.suffix}") for n in range(1, pages + 1)]

    return OutputRequest(Item(output.with_name("source"), output), request, files, named)


def claimed(*all_wanted: OutputRequest, reads: Sequence[Path] = (), force: bool = False) -> list[str]:
    return [item.output.name for item in Claims(reads, force=force).claim_all(all_wanted)]


def test_the_same_request_finds_its_result_again_and_others_get_a_number(tmp_path: Path) -> None:
    output = tmp_path / "dog-edit.png"
    assert claimed(wanted(output, "fox")) == ["dog-edit.png"]
    result(output, "fox")
    assert claimed(wanted(output, "fox")) == ["dog-edit.png"]
    assert claimed(wanted(output, "owl")) == ["dog-edit-2.png"]
    result(tmp_path / "dog-edit-2.png", "owl")
    assert claimed(wanted(output, "owl"), wanted(output, "fox")) == ["dog-edit-2.png", "dog-edit.png"]
    assert claimed(wanted(output, "cat"), wanted(output, "owl")) == ["dog-edit-3.png", "dog-edit-2.png"]
    output.write_text("painted over")
    assert claimed(wanted(output, "fox")) == ["dog-edit-3.png"]


def test_a_deleted_result_is_free_for_others_but_not_one_that_the_run_will_make_again(tmp_path: Path) -> None:
    output = tmp_path / "dog-edit.png"
    result(output, "fox")
    output.unlink()
    assert claimed(wanted(output, "owl")) == ["dog-edit.png"]
    assert claimed(wanted(output, "owl"), wanted(output, "fox")) == ["dog-edit-2.png", "dog-edit.png"]


def test_named_files_are_refused_or_forced(tmp_path: Path) -> None:
    touch(tmp_path, "taken.png", "input.png", "folder/x")
    result(tmp_path / "fox.png", "fox")
    assert claimed(wanted(tmp_path / "fox.png", "fox", named=True)) == ["fox.png"]
    for name, request in (("taken.png", "fox"), ("fox.png", "owl")):
        with pytest.raises(OutputError, match=f"{name} exists and is no earlier result of the same command: .*--force"):
            claimed(wanted(tmp_path / name, request, named=True))
        assert claimed(wanted(tmp_path / name, request, named=True), force=True) == [name]
    with pytest.raises(UsageError, match=r"input\.png is an input of this run"):
        claimed(wanted(tmp_path / "input.png", "", named=True), reads=[tmp_path / "input.png"], force=True)
    with pytest.raises(UsageError, match="is a folder"):
        claimed(wanted(tmp_path / "folder", "", named=True), force=True)


@pytest.mark.parametrize("alias", ["itself", "hard link", "symbolic link", "case", "through a folder"])
def test_a_file_that_a_run_reads_is_never_written_by_any_name(tmp_path: Path, alias: str) -> None:
    touch(tmp_path, "mask.png", "sub/x")
    target = tmp_path / "out.png"
    if alias == "hard link":
        os.link(tmp_path / "mask.png", target)
    elif alias == "symbolic link":
        target.symlink_to("mask.png")
    else:
        target = tmp_path / {"itself": "mask.png", "case": "MASK.png", "through a folder": "sub/../mask.png"}[alias]
    with pytest.raises(UsageError, match="is an input of this run"):
        claimed(wanted(target, "", named=True), reads=[tmp_path / "mask.png"], force=True)
    assert claimed(wanted(target, ""), reads=[tmp_path / "mask.png"], force=True) == [f"{target.stem}-2.png"]


def test_a_link_to_nowhere_is_a_file_of_others(tmp_path: Path) -> None:
    (tmp_path / "out.png").symlink_to("nowhere")
    assert claimed(wanted(tmp_path / "out.png", "")) == ["out-2.png"]


def test_pages_are_claimed_together(tmp_path: Path) -> None:
    touch(tmp_path, "scan-2.png")
    both = (wanted(tmp_path / "scan-1.png", "one page"), wanted(tmp_path / "scan.png", "three pages", pages=3))
    assert claimed(*both) == ["scan-1.png", "scan-2.png"]  # of which the pages are scan-2-1.png and so on
    items = Claims([], force=False).claim_all(both)
    assert [path.name for path in items[1].outputs] == ["scan-2-1.png", "scan-2-2.png", "scan-2-3.png"]
    result(tmp_path / "scan.png", "four", "scan-1.png", "scan-3.png")
    assert claimed(wanted(tmp_path / "scan.png", "four", pages=2)) == ["scan-2.png"], "its second page is somebody's"


def test_two_outputs_differ_in_more_than_case(tmp_path: Path) -> None:
    assert claimed(wanted(tmp_path / "Page.png", "a"), wanted(tmp_path / "page.png", "b")) == ["Page.png", "page-2.png"]


def test_names_of_any_bytes_up_to_the_limit(tmp_path: Path) -> None:
    for name in ("é" * 125 + ".png", "x" * 251 + ".png", "-dash.png", "two\nlines.png", os.fsdecode(b"\xff\xfe.png")):
        output = tmp_path / name
        result(output, name)
        assert claimed(wanted(output, name)) == [name] and output.read_bytes() == os.fsencode(name)
        assert OutputManifest(output, output, "key", name).finished() == [{}]
    (item,) = Claims([], force=False).claim_all([wanted(tmp_path / ("é" * 126 + ".png"), "")])
    assert item.problem is not None and "has 256 bytes, at most 255" in item.problem
    cut = beside(tmp_path / ("é" * 125 + ".png"), "-report.json").name
    assert cut == "é" * 121 + "-report.json"


def test_everything_that_is_left_out_is_told_with_its_reason(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "in/b.docx", "in/c.txt", "in/.d.png", "in/sub/e.png", "in/.git/x", "in/a-clean.png")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "in" / "sub")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    result(tmp_path / "in" / "r.png", "request")
    found = plan([str(tmp_path / "in")], verb="clean", suffixes=SUFFIXES)
    assert [item.source.name for item in found.items] == ["a-clean.png", "a.png"]
    assert {Path(each.path).name: each.reason for each in found.left_out} == {
        ".d.png": "hidden",
        ".git": "hidden",
        "b.docx": "another kind of file",
        "c.txt": "another kind of file",
        "link": "a sub-folder (give -r)",
        "pipe.png": "not a file",
        "r.png": "an earlier result",
        "sub": "a sub-folder (give -r)",
    }
    files = "2 files of other kinds (.docx, .txt), 2 hidden files or folders, 1 earlier result"
    assert summary(found.left_out) == f"left out: {files}, 2 sub-folders (give -r), 1 thing that is no file"
    deep = plan([str(tmp_path / "in")], verb="clean", suffixes=SUFFIXES, recursive=True, out=tmp_path / "in" / "sub")
    reasons = {Path(each.path).name: each.reason for each in deep.left_out}
    assert (reasons["link"], reasons["sub"]) == ("the folder of the outputs", "the folder of the outputs")
    names = [str(tmp_path / "in" / name) for name in ("a.png", "r.png")]
    assert [each.path for each in plan(names, verb="clean", suffixes=SUFFIXES).left_out] == names[1:]


def hold(*folders: Path) -> subprocess.Popen[str]:
    """A process that holds the locks of folders until its input ends."""
    code = (
        "import sys; from pathlib import Path; from fastdiff.apps.running.folder_locks import FolderLocks\n"
        "with FolderLocks() as locks: locks.add(map(Path, sys.argv[1:])); print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *folders], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_lock_excludes_others_until_its_process_ends_however_it_ends(tmp_path: Path) -> None:
    for end in (subprocess.Popen.kill, lambda process: process.communicate("")):
        process = hold(tmp_path / "new" / "out")
        with FolderLocks() as locks:
            assert locks.add([tmp_path / "free"])
            with pytest.raises(OutputError, match=f"another fastdiff run is writing into {tmp_path}/new/out: wait for"):
                locks.add([tmp_path / "free", tmp_path / "new" / "out"])
        assert [path.name for path in tmp_path.iterdir()] == ["new"], "what the refused run made is gone"
        end(process)
        process.communicate()
        with FolderLocks() as locks:
            assert locks.add([tmp_path / "new" / "out"]) and not locks.add([tmp_path / "new" / "out"])
        assert not list((tmp_path / "new").rglob("lock"))
        (tmp_path / "new").mkdir(exist_ok=True)


def test_a_lock_leaves_no_folder_it_made_and_no_draft_of_a_killed_run(tmp_path: Path) -> None:
    with FolderLocks() as locks:
        locks.add([tmp_path / "a" / "b"])
        assert (tmp_path / "a" / "b" / FOLDER / "lock").exists()
    assert not list(tmp_path.iterdir())
    touch(tmp_path, f"{FOLDER}/draft-0123", f"{FOLDER}/.0123.4567.part", f"{FOLDER}/entry.json", "draft-mine")
    touch(tmp_path, f"{FOLDER}/removing.parts/00000")
    for name, key in (("done", "key"), ("begun", "key"), ("again", "other")):
        touch(tmp_path, f"{FOLDER}/{name}.parts/00000", f"{FOLDER}/{name}.parts/key")
        (tmp_path / FOLDER / f"{name}.parts" / "key").write_text(key)
        if name != "begun":
            (tmp_path / FOLDER / f"{name}.json").write_text('{"key": "key"}')
    with FolderLocks() as locks:
        locks.add([tmp_path])
    left = {str(path.relative_to(tmp_path / FOLDER)) for path in (tmp_path / FOLDER).rglob("*") if path.is_file()}
    parts = {f"{name}.parts/{file}" for name in ("begun", "again") for file in ("00000", "key")}
    assert left == {"entry.json", "done.json", "again.json"} | parts
    assert (tmp_path / "draft-mine").exists()


def test_a_place_that_cannot_be_locked_is_one_sentence(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    for folder in (tmp_path / "file" / "out", Path("/proc/nowhere")):
        with pytest.raises(OutputError, match=f"cannot write into {folder}"), FolderLocks() as locks:
            locks.add([folder])


@pytest.mark.parametrize(
    "command",
    [
        *(f"train {name} --device cpu --steps 1 --folder {{}}" for name in ("codec", "docclean", "edit", "prior")),
        "train recogniser --device cpu --steps 1 --folder {}",
        "tune docclean --solver dode --nfe 2 --size 16 --samples 4 -o {}/solver.safetensors",
        "search docclean --nfe 2 --size 16 --samples 2 -o {}/solver.safetensors",
    ],
    ids=lambda command: "-".join(command.split()[:2]),
)
def test_long_runs_stay_out_of_a_folder_that_another_writes_into(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FolderLocks() as locks:
        locks.add([tmp_path])
        assert main(command.format(tmp_path).split()) == OutputError.exit_code
    assert f"another fastdiff run is writing into {tmp_path}: wait for it" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
