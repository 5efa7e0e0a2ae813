"""The benchmark starts, and its trade-off reads strengths at one SSIM."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from benchmarks.attack import tradeoff


def test_every_section_of_the_benchmark_is_there() -> None:
    assert "tradeoff" in import_module("benchmarks.attack.__main__").SECTIONS


def test_attacks_are_compared_between_their_strengths(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"ciede2000": 1.0, "low": 0.5, "success": 1.0, "known": 10}
    rows: list[dict[str, Any]] = [
        {"attack": "a", "strength": 1, "ssim": 0.95, "transfer": 0.2, "transferred": 2, "jpeg": 0.5, **shared},
        {"attack": "a", "strength": 2, "ssim": 0.85, "transfer": 0.6, "transferred": 6, "jpeg": 1.0, **shared},
        {"attack": "b", "strength": 1, "ssim": 0.99, "transfer": 0.0, "transferred": 0, "jpeg": None, **shared},
    ]
    first, second = tradeoff._compared(rows).rows
    assert first == ("a", pytest.approx(0.4), pytest.approx(0.75)) and second == ("b", None, None)
    assert [row[:2] for row in tradeoff._points(rows).rows] == [("a, 1", 0.95), ("a, 2", 0.85), ("b, 1", 0.99)]
    tradeoff._plot(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
