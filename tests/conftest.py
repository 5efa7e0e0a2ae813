"""Gives the tests fonts of their own, and fails the suite where a test is skipped for a reason that is not listed."""

import os
import re
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

HERE = Path(__file__).parent
ALLOWED = "|".join(line for line in (HERE / "allowed_skips.txt").read_text().splitlines() if line and line[0] != "#")

os.environ["XDG_DATA_HOME"] = str(HERE)  # commands that tests start find tests/fonts there, too


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and _unlisted(session.config.pluginmanager.getplugin("terminalreporter")):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    for reason in _unlisted(terminalreporter):
        terminalreporter.line(f"FAILED: skipped, and not for a reason in tests/allowed_skips.txt: {reason}", red=True)


def _unlisted(reporter: TerminalReporter | None) -> list[str]:
    if reporter is None:  # in a worker process, whose reports another process shows
        return []
    reasons = {str(report.longrepr[2]) for report in reporter.stats.get("skipped", ())}
    return sorted(reason for reason in reasons if not re.search(ALLOWED, reason))
