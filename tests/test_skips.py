"""The suite fails where a test is skipped for a reason that nobody listed."""

import os
import shutil
from pathlib import Path

import pytest

pytest_plugins = ("pytester",)
HERE = Path(__file__).parent


@pytest.mark.parametrize(("reason", "code"), [("no GPU", 0), ("qpdf is not installed", 0), ("no fonts", 1)])
def test_a_skip_that_is_not_listed_fails_the_suite(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, reason: str, code: int
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", os.environ["XDG_DATA_HOME"])  # the copied conftest changes it
    for name in ("conftest.py", "allowed_skips.txt"):
        shutil.copy(HERE / name, pytester.path)
    pytester.makepyfile(f"import pytest\ndef test_passes(): pass\ndef test_rests(): pytest.skip({reason!r})")
    result = pytester.runpytest_inprocess()
    assert result.ret == code
    assert ("allowed_skips.txt" in result.stdout.str()) == bool(code)
