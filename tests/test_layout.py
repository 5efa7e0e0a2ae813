"""Guards of the repository's layout, which no other test would notice to be broken."""

import ast
import tomllib
from glob import glob
from importlib.metadata import version
from pathlib import Path

import pytest

from fastdiff.models.catalogue import BUNDLED

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data"
SHIPPED = ("apps", "cli", "data", "inversion", "models", "solvers", "training")
MAY_IMPORT = {  # besides itself
    "solvers": set(),
    "inversion": {"solvers"},
    "data": {"solvers"},
    "models": {"data", "solvers"},
    "training": {"apps", "data", "models", "solvers"},
    "apps": {"data", "inversion", "models", "solvers"},
    "cli": set(SHIPPED),
}
MAY_IMPORT_WITHIN = {  # package below apps -> modules and packages of its parent that it may import besides itself
    "images": set(),
    "running": set(),
    "docclean/imaging": set(),
    "docclean/guard": {"imaging"},
    "docclean/ocr": {"imaging"},
    "docclean/pdf": set(),
    "docclean/restoration": {"imaging", "ocr", "options"},
}


def modules():
    return sorted(path for folder in SHIPPED for path in (ROOT / folder).rglob("*.py"))


def test_every_package_folder_is_listed_and_typed():
    """An unlisted sub-package works in an editable install and is missing from the wheel."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {path.parent for path in modules()}
    assert {"fastdiff." + ".".join(folder.relative_to(ROOT).parts) for folder in folders} == listed
    assert all((folder / "__init__.py").exists() and (folder / "py.typed").exists() for folder in folders)


@pytest.mark.parametrize("folder", BUNDLED)
def test_every_file_of_the_bundled_folders_is_in_the_wheel(folder):
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    matched = {path for pattern in patterns["fastdiff.data"] for path in glob(pattern, root_dir=DATA, recursive=True)}
    files = {str(path.relative_to(DATA)) for path in (DATA / folder).rglob("*") if path.is_file()}
    assert files and files <= matched


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_are_absolute_and_point_downwards(path):
    package = path.relative_to(ROOT).parts[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            names = [str(node.module)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            top, *rest = name.split(".")
            assert top not in SHIPPED, f"line {node.lineno}: {name} without fastdiff."
            if top == "fastdiff":
                assert rest and rest[0] in MAY_IMPORT[package] | {package}, f"line {node.lineno}: {name} from {package}"


@pytest.mark.parametrize("package", MAY_IMPORT_WITHIN)
def test_packages_of_apps_import_only_what_lies_below(package):
    folder = ROOT / "apps" / package
    parent = ".".join(("fastdiff", *folder.parent.relative_to(ROOT).parts))
    allowed = {f"{parent}.{name}" for name in (folder.name, *MAY_IMPORT_WITHIN[package])}
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{parent}."):
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                imported = {".".join(name.split(".")[: parent.count(".") + 2]) for name in names}
                assert imported <= allowed, f"{path.name}: {node.module}"


def test_docclean_has_no_package_without_a_rule():
    found = {path.parent.relative_to(ROOT / "apps").as_posix() for path in (ROOT / "apps/docclean").rglob("*.py")}
    assert found - {"docclean"} <= set(MAY_IMPORT_WITHIN)


def test_both_builds_of_opencv_are_one_version_and_load():
    """They unpack into one folder: the one installed last wins, and a mix of two does not load."""
    import cv2

    assert version("opencv-python") == version("opencv-python-headless")
    assert cv2.getBuildInformation()
