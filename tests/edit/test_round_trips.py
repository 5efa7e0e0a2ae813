"""The table of round trips: inverters by families of models."""

from pathlib import Path

import pytest
from tiny_folders import FOLDERS

from benchmarks.edit.round_trips import EXACT, run
from fastdiff.inversion.registry import FLOW_ONLY, INVERTERS


@pytest.mark.parametrize("family", ["pixart", "sana", "flux"])
def test_exact_methods_return_the_latents_of_a_picture(family: str, tmp_path: Path) -> None:
    section = run([str(FOLDERS[family](tmp_path / family))], steps=6, strength=0.5, side=32)
    found = {page["inverter"]: page for page in section.pages}
    assert all(found[name]["error"] <= 1e-4 and found[name]["solved"] for name in EXACT)
    assert all(page["error"] > 1e-4 for name, page in found.items() if name not in EXACT)
    assert found.keys() == INVERTERS.keys() - (FLOW_ONLY if family == "pixart" else set())
    (table,) = section.tables
    assert table.columns == ("inverter", family) and "rf-inversion" in str(table)
