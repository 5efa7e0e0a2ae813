"""Runs the tests that need a GPU, and prints a table of them: `make gpu`."""

import sys

import pytest
import torch

NO_GPU = "no GPU here: `make gpu` compares cuda with the processor on a machine that has one"


class Table:
    """Collects the outcome, the seconds and the memory of every test."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, float, float]] = []  # name, outcome, seconds, MiB

    def pytest_runtest_setup(self) -> None:
        torch.cuda.reset_peak_memory_stats()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            name = report.nodeid.removeprefix("tests/")
            self.rows.append((name, report.outcome, report.duration, torch.cuda.max_memory_allocated() / 2**20))

    def __str__(self) -> str:
        width = max(len(name) for name, *_ in self.rows)
        lines = [f"{torch.cuda.get_device_name()}, torch {torch.__version__}"]
        lines += [f"{'test':<{width}}  outcome  seconds     MiB"]
        for name, outcome, seconds, memory in self.rows:
            lines.append(f"{name:<{width}}  {outcome:<7}  {seconds:>7.1f}  {memory:>6.0f}")
        return "\n".join(lines)


def main() -> int:
    """Return the exit code of pytest; 0 without a GPU."""
    if not torch.cuda.is_available():
        sys.stdout.write(f"{NO_GPU}\n")
        return 0
    table = Table()
    code = pytest.main(["-m", "gpu", "--quiet"], plugins=[table])
    if table.rows:
        sys.stdout.write(f"{table}\n")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
