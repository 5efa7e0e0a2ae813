"""The command line: quick help, one sentence and an exit code for everything that goes wrong."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from fastdiff.apps.running.batch import Progress
from fastdiff.cli import main as cli
from fastdiff.cli.progress import pace, shown
from fastdiff.solvers.errors import MissingError, OutputError, UsageError

HEAVY = ("torch", "numpy", "cv2", "PIL", "easyocr", "rapidocr", "transformers", "diffusers", "kornia", "wordfreq")


@pytest.mark.parametrize("arguments", ["-h", "--version", "docclean -h", "edit -h", "attack -h", "models -h"])
def test_help_imports_nothing_heavy(arguments: str) -> None:
    code = (
        "import sys; from fastdiff.cli.main import main; assert main(sys.argv[1:]) == 0;"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments.split()], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_has_groups_and_every_shared_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["docclean", "-h"]) == 0
    text = capsys.readouterr().out
    for heading in ("Input:", "Output:", "Cleaning:", "Scoring:", "Run:", "Examples:"):
        assert heading in text
    shared = "-r -o --out --force --seed --device --dtype --json --report --dry-run --jobs --debug"
    assert all(name in text for name in shared.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["docclean"], "Missing argument"),
        (["docclean", "x.png", "--nonsense"], "No such option"),
        (["docclean", "x.png", "--task", "iron"], "'iron' is not one of"),
        (["docclean", "x.png", "--jobs", "0"], "not in the range"),
        (["docclean", "missing.png"], "missing.png does not exist"),
        (["docclean", "x.png", "--ocr", "none", "--truth", "."], "another OCR engine"),
        (["iron"], "No such command"),
    ],
)
def test_wrong_usage_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert sentence in told.err and "Traceback" not in told.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("that"), 2),
        (MissingError("that"), 3),
        (OutputError("that"), 5),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("that"), 1),
    ],
)
def test_errors_become_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    @click.option("--debug", is_flag=True)
    def failing(debug: bool) -> None:
        raise error

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: failing)
    assert cli.main(["docclean"]) == code
    told = capsys.readouterr().err
    assert len(told.strip().splitlines()) == 1 and "Traceback" not in told
    if code in (2, 3, 5):
        assert cli.main(["docclean", "--debug"]) == code
        assert "Traceback" in capsys.readouterr().err


def test_without_a_terminal_progress_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with shown() as watch:
        for done in range(100):
            watch(Progress(done, 100, float(done), "page"))
    assert capsys.readouterr().err.splitlines() == [
        "page: 30/100, 60.0 a minute, 0:01:10 left",
        "page: 60/100, 60.0 a minute, 0:00:40 left",
        "page: 90/100, 60.0 a minute, 0:00:10 left",
    ]


@pytest.mark.parametrize("command", ["edit", "attack", "docclean"])
def test_a_terminal_alone_shows_that_libraries_are_loaded(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = [command, str(tmp_path / "absent.png"), "--dry-run"]
    assert cli.main(nothing) == 2
    assert "loading" not in capsys.readouterr().err
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert cli.main(nothing) == 2
    assert "loading libraries" in capsys.readouterr().err


def test_pace_tells_rate_and_time_left() -> None:
    assert pace(Progress(0, 40, 0, "page")) == "0/40"
    assert pace(Progress(10.5, 40, 210, "page")) == "10/40, 3.0 a minute, 0:09:50 left"
