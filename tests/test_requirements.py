"""The requirements that pyproject.toml names are met by what is installed."""

from importlib.metadata import requires, version

import pytest
from packaging.requirements import Requirement

REQUIREMENTS = [Requirement(line) for line in requires("fastdiff-toolkit") or ()]


@pytest.mark.parametrize("requirement", [r for r in REQUIREMENTS if r.marker is None], ids=lambda r: r.name)
def test_a_requirement_is_met(requirement: Requirement) -> None:
    assert requirement.specifier.contains(version(requirement.name))


def test_both_builds_of_opencv_are_of_one_range() -> None:
    """easyocr and rapidocr bring the headless build, which unpacks into the folder of the other one."""
    specifiers = {r.name: r.specifier for r in REQUIREMENTS if r.name.startswith("opencv")}
    assert specifiers["opencv-python"] == specifiers["opencv-python-headless"]
