"""What the applications share: finding inputs, atomic files, the manifest, the loop."""

import hashlib
import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import workers

from fastdiff.apps.running import atomic, batch, resume
from fastdiff.apps.running.claims import Claims, OutputRequest
from fastdiff.apps.running.folder_manifest import Manifest
from fastdiff.apps.running.inputs import Item, plan, summary
from fastdiff.apps.running.output_manifest import OutputManifest, digest, file_digest
from fastdiff.solvers.errors import MissingError, OutputError, UsageError

SUFFIXES = {".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".pdf": "pdf"}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def planned(folder: Path, *inputs: str, **settings) -> dict[str, str]:
    """Source -> claimed output, relative to `folder`."""
    found = plan([str(folder / name) for name in inputs], verb="clean", suffixes=SUFFIXES, **settings)
    wanted = [OutputRequest(item, digest(item.source), named=found.named) for item in found.items]
    items = Claims([item.source for item in found.items], force=False).claim_all(wanted)
    return {str(item.source.relative_to(folder)): str(item.output.relative_to(folder)) for item in items}


def record_as_result(output: Path, source: Path, request: str = "request") -> None:
    """Enter `output`, which exists, in the manifest as made from `source`."""
    manifest = OutputManifest(output, source, "key", request, force=True)
    with manifest.drafts([output]) as drafts:
        drafts[output].write_bytes(output.read_bytes())
        manifest.publish(drafts, [{"page": 1}], final=True)


def test_a_folder_gives_its_known_files_and_keeps_its_tree(tmp_path: Path) -> None:
    touch(tmp_path, "in/b.png", "in/a.JPG", "in/notes.txt", "in/.hidden.png", "in/sub/c.pdf", "in/.cache/d.png")
    assert planned(tmp_path, "in") == {"in/a.JPG": "in-clean/a.JPG", "in/b.png": "in-clean/b.png"}
    deep = planned(tmp_path, "in", recursive=True, out=tmp_path / "out", suffix=".pdf")
    assert deep == {"in/a.JPG": "out/a.pdf", "in/b.png": "out/b.pdf", "in/sub/c.pdf": "out/sub/c.pdf"}


def test_files_and_patterns_go_beside_their_inputs_or_where_told(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpeg", "b.png", "c.png", "d.txt")
    assert planned(tmp_path, "a.jpeg") == {"a.jpeg": "a-clean.jpeg"}
    assert planned(tmp_path, "a.jpeg", suffix=".jpg") == {"a.jpeg": "a-clean.jpeg"}
    assert planned(tmp_path, "a.jpeg", out=tmp_path / "x.pdf") == {"a.jpeg": "x.pdf"}
    assert planned(tmp_path, "?.png", out=tmp_path / "x") == {"b.png": "x/b.png", "c.png": "x/c.png"}
    assert planned(tmp_path, "b.png", "*.png", "b.png") == {"b.png": "b-clean.png", "c.png": "c-clean.png"}


def test_results_of_earlier_runs_are_never_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "in/a-clean.png", "in/renamed.png", "in/out/a.png", "in/in-clean/b.png")
    for name in ("in/renamed.png", "in/in-clean/b.png"):
        record_as_result(tmp_path / name, tmp_path / "in/a.png")
    assert list(planned(tmp_path, "in", recursive=True, out=tmp_path / "in/out")) == ["in/a-clean.png", "in/a.png"]
    assert list(planned(tmp_path, "in/*.png")) == ["in/a-clean.png", "in/a.png"]
    assert list(planned(tmp_path, "in/a.png", "in/renamed.png")) == ["in/a.png"]
    assert list(planned(tmp_path, "in/renamed.png")) == ["in/renamed.png"]
    (tmp_path / "in/renamed.png").write_text("changed by its owner")
    assert "in/renamed.png" in planned(tmp_path, "in")


def test_two_inputs_never_share_an_output(tmp_path: Path) -> None:
    touch(tmp_path, "1/page.png", "2/page.png", "2/PAGE.jpg")
    outputs = planned(tmp_path, "1", "2", out=tmp_path / "out", suffix=".pdf")
    assert outputs == {"1/page.png": "out/page.pdf", "2/PAGE.jpg": "out/PAGE-2.pdf", "2/page.png": "out/page-3.pdf"}


def test_links_to_an_input_are_told_as_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png")
    (tmp_path / "in/b.png").symlink_to(tmp_path / "in/a.png")
    found = plan([str(tmp_path / "in")], verb="clean", suffixes=SUFFIXES)
    assert [item.source.name for item in found.items] == ["a.png"]
    assert summary(found.left_out) == "left out: 1 other name of an input"


def test_an_empty_name_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an empty name"):
        plan(["", str(tmp_path)], verb="clean", suffixes=SUFFIXES)


def test_inputs_that_do_not_fit_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png", "letter.doc", "empty/notes.txt")
    found = plan([str(tmp_path / "letter.doc")], verb="clean", suffixes=SUFFIXES)
    assert found.items[0].problem == "letter.doc is none of .jpeg, .jpg, .pdf, .png"
    with pytest.raises(UsageError, match="does not exist"):
        planned(tmp_path, "missing.png")
    with pytest.raises(UsageError, match="nothing to do"):
        planned(tmp_path, "empty")
    with pytest.raises(UsageError, match="one file for several inputs"):
        planned(tmp_path, "a.png", "b.png", out=tmp_path / "x.png")
    with pytest.raises(UsageError, match="neither a folder nor a file"):
        planned(tmp_path, "a.png", out=tmp_path / "letter.doc")


def test_drafts_leave_whole_files_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    atomic.write_text(target, "one")
    leftover = target.with_name(f".{hashlib.sha256(b'file.txt').hexdigest()[:16]}.0123abcd.part")
    leftover.write_text("half of a killed ru")
    with pytest.raises(ZeroDivisionError), atomic.draft(target) as draft:
        draft.write_text("half")
        _ = 1 / 0
    assert target.read_text() == "one"
    assert list(target.parent.iterdir()) == [target]


def test_places_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    with pytest.raises(OutputError, match=r"cannot write .*file/x: "):
        atomic.write_text(tmp_path / "file" / "x", "text")
    full_disk = (
        "import resource, sys; from pathlib import Path; from fastdiff.apps.running import atomic;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); atomic.write_text(Path(sys.argv[1]), 'x' * 5000)"
    )
    done = subprocess.run([sys.executable, "-c", full_disk, tmp_path / "big"], capture_output=True, text=True)
    assert "OutputError: cannot write" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_manifest_trusts_whole_outputs_of_the_same_work_alone(tmp_path: Path) -> None:
    touch(tmp_path, "in.png", "out.png")
    output = tmp_path / "out.png"
    record_as_result(output, tmp_path / "in.png")
    manifest = OutputManifest(output, tmp_path / "in.png", "key", "request")
    assert Manifest.read(tmp_path).holds(output)
    assert manifest.finished() == [{"page": 1}]
    assert OutputManifest(output, tmp_path / "in.png", "other weights", "request").finished() is None
    assert OutputManifest(output, tmp_path / "in.png", "key", "other request").finished() is None
    output.write_text("cut")
    assert manifest.finished() is None and not Manifest.read(tmp_path).holds(output)
    with pytest.raises(OutputError, match="no earlier result"):
        manifest.open([output])
    output.unlink()
    assert manifest.finished() is None


def test_files_of_others_and_inputs_are_not_replaced(tmp_path: Path) -> None:
    touch(tmp_path, "in.png", "other.png", "out.png")
    source, output = tmp_path / "in.png", tmp_path / "out.png"
    with pytest.raises(OutputError, match="give --force"):
        OutputManifest(output, source, "key", "request").open([output])
    record_as_result(output, source)
    OutputManifest(output, source, "other weights", "request").open([output])
    with pytest.raises(OutputError, match="no earlier result of the same command"):
        OutputManifest(output, source, "key", "other request").open([output])
    with pytest.raises(OutputError, match="is the input itself"):
        OutputManifest(source, source, "key", "request", force=True).open([source])


def test_a_file_that_appears_while_a_run_works_stays(tmp_path: Path) -> None:
    touch(tmp_path, "in.png")
    output = tmp_path / "out.png"
    manifest = OutputManifest(output, tmp_path / "in.png", "key", "request")
    with pytest.raises(OutputError, match="give --force"), manifest.drafts([output]) as drafts:
        drafts[output].write_text("result")
        output.write_text("somebody's")
        manifest.publish(drafts, [{}], final=True)
    assert output.read_text() == "somebody's"
    assert not Manifest.read(tmp_path).holds(output) and not list((tmp_path / ".fastdiff").iterdir())


def test_files_that_an_output_no_longer_has_go_and_changed_ones_stay(tmp_path: Path) -> None:
    touch(tmp_path, "in.tif")
    pages = [tmp_path / f"out-{number}.png" for number in range(4)]
    manifest = OutputManifest(tmp_path / "out.png", tmp_path / "in.tif", "key", "request")
    for count in (4, 1):
        with manifest.drafts(pages[:count]) as drafts:
            for draft in drafts.values():
                draft.write_text(f"{count} pages")
            manifest.publish(drafts, [{"pages": count}], final=True)
        if count == 4:
            pages[2].write_text("changed")
    assert [page.exists() for page in pages] == [True, False, True, False]
    assert manifest.finished() == [{"pages": 1}] and pages[0].read_text() == "1 pages"
    pages[3].write_text("4 pages")  # as a run leaves it that is killed before it removes the page
    assert manifest.finished() is None and Manifest.read(tmp_path).holds(pages[3])


def test_parts_outlive_a_killed_run_but_not_other_work(tmp_path: Path) -> None:
    touch(tmp_path, "in.pdf")
    manifest = OutputManifest(tmp_path / "out.pdf", tmp_path / "in.pdf", "key", "request")
    manifest.open([manifest.output])
    manifest.part(3).write_text("pixels")
    assert manifest.record(3) is None
    manifest.keep(3, {"page": 4})
    manifest.open([manifest.output])
    assert manifest.record(3) == {"page": 4} and manifest.part(3).read_text() == "pixels"
    for changed in (replace(manifest, key="other"), replace(manifest, force=True)):
        manifest.open([manifest.output])
        manifest.keep(3, {"page": 4})
        changed.open([manifest.output])
        assert changed.record(3) is None


def test_a_run_killed_between_entry_and_output_may_replace_its_old_output(tmp_path: Path) -> None:
    touch(tmp_path, "in.png", "out.png")
    output = tmp_path / "out.png"
    record_as_result(output, tmp_path / "in.png")
    before = file_digest(output)
    newer = OutputManifest(output, tmp_path / "in.png", "newer", "request")
    touch(tmp_path, "in the way")
    with newer.drafts([output]) as drafts:
        drafts[output].write_text("newer")
        newly = {tmp_path / "in the way" / "x": drafts[output]} | drafts
        with pytest.raises(OutputError):  # the entry is written, then moving the output into place fails
            newer.publish(newly, [], final=True)
    assert file_digest(output) == before
    assert newer.finished() is None
    newer.open([output])


def test_finished_work_may_be_checked_again(tmp_path: Path) -> None:
    touch(tmp_path, "in.png", "out.png")
    item = Item(tmp_path / "in.png", tmp_path / "out.png")
    record_as_result(item.output, item.source)

    def manifest_of(item: Item, content: str) -> OutputManifest:
        return OutputManifest(item.output, item.source, "key", "request")

    asked: list[tuple[Item, list[dict[str, Any]]]] = []

    def still_valid(item: Item, records: list[dict[str, Any]]) -> bool:
        asked.append((item, records))
        return len(asked) == 1

    for found in ({item: [{"page": 1}]}, {}):
        assert resume.finished([item], manifest_of, force=False, still_valid=still_valid) == found
    assert asked == [(item, [{"page": 1}])] * 2
    assert resume.finished([item], manifest_of, force=True, still_valid=still_valid) == {} and len(asked) == 2


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"outputs": 3}', '{"records": "x"}', "\0", '{"key": 1}'])
def test_damaged_entries_make_files_those_of_others(tmp_path: Path, damage: str) -> None:
    touch(tmp_path, "in.png", "out.png")
    output = tmp_path / "out.png"
    record_as_result(output, tmp_path / "in.png")
    (entry,) = (tmp_path / ".fastdiff").glob("*.json")
    entry.write_text(damage)
    assert OutputManifest(output, tmp_path / "in.png", "key", "request").finished() is None
    assert not Manifest.read(tmp_path).holds(output)
    with pytest.raises(OutputError, match="give --force"):
        OutputManifest(output, tmp_path / "in.png", "key", "request").check([output])


def test_entries_without_a_request_keep_results_from_being_inputs_and_from_being_replaced(tmp_path: Path) -> None:
    touch(tmp_path, "in.png", "out.png")
    output = tmp_path / "out.png"
    files = {"outputs": {"out.png": file_digest(output)}, "replaces": {"out.png": None}}
    entry = {"key": "key", "source": str(tmp_path / "in.png"), **files, "records": [{}]}
    touch(tmp_path, ".fastdiff/out.png.json")
    (tmp_path / ".fastdiff/out.png.json").write_text(json.dumps(entry))
    assert Manifest.read(tmp_path).holds(output)
    with pytest.raises(OutputError, match="give --force"):
        OutputManifest(output, tmp_path / "in.png", "key", "request").check([output])


@pytest.mark.parametrize("jobs", [1, 2])
def test_failures_stay_with_their_items(tmp_path: Path, jobs: int) -> None:
    names = ["a", "usage", "b", "bug", "output", "c"]
    items = [Item(Path(name), tmp_path / name) for name in names] + [Item(Path("d"), tmp_path / "d", "unusable")]
    seen: list[batch.Progress] = []
    outcomes = batch.run(items, workers.setup, "<", jobs=jobs, watch=seen.append)
    assert [outcome.item for outcome in outcomes] == items
    assert [outcome.value for outcome in outcomes] == ["<a", None, "<b", None, None, "<c", None]
    assert [outcome.exit_code for outcome in outcomes] == [0, 2, 0, 4, 5, 0, 2]
    assert outcomes[1].error == "a sentence" and outcomes[6].error == "unusable"
    assert "ZeroDivisionError" in (outcomes[3].error or "") and "workers.py" in (outcomes[3].trace or "")
    assert batch.exit_code(outcomes) == 4
    assert batch.exit_code([outcomes[1], outcomes[3]]) == 2
    assert batch.exit_code([outcomes[0]]) == 0
    assert (seen[0].name, seen[0].done) == ("loading the models", 0)
    assert sorted(now.done for now in seen if now.finished) == list(range(1, 8))
    assert all(first.seconds <= second.seconds for first, second in itertools.pairwise(seen))
    assert seen[-1].seconds_left == 0


def test_progress_tells_rate_and_time_left() -> None:
    now = batch.Progress(done=2.5, total=10, seconds=50, name="page")
    assert now.per_minute == pytest.approx(3)
    assert now.seconds_left == pytest.approx(150)
    assert batch.Progress(0, 10, 1, "page").seconds_left is None


def test_what_no_item_can_do_without_ends_the_run(tmp_path: Path) -> None:
    items = [Item(Path("a"), tmp_path / "a"), Item(Path("b"), tmp_path / "b")]
    for jobs in (1, 2):
        with pytest.raises(MissingError, match="engine is not installed"):
            batch.run(items, workers.setup_missing, "engine", jobs=jobs)
    with pytest.raises(KeyboardInterrupt):
        batch.run([Item(Path("interrupt"), tmp_path / "x")], workers.setup, "")


def test_the_death_of_a_worker_process_is_told(tmp_path: Path) -> None:
    items = [Item(Path("death"), tmp_path / "a"), Item(Path("death"), tmp_path / "b")]
    outcomes = list(batch.run(items, workers.setup, "", jobs=2))
    assert len(outcomes) == 2 and all("worker process died" in (outcome.error or "") for outcome in outcomes)
