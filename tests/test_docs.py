"""The documentation: links resolve, commands are run, planned or parsed, Python examples run, names exist."""

import ast
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import click
import numpy as np
import pytest
import tiny_pixart
from diffusers import DDIMScheduler
from PIL import Image

from fastdiff.apps import APPS
from fastdiff.cli import main as cli
from fastdiff.cli.options import Command
from fastdiff.inversion import INVERTERS
from fastdiff.models import SpeedUpFile, load_editable
from fastdiff.models.speedup.adapter import begin_speedup
from fastdiff.solvers import SOLVERS, SPACINGS, TUNED

ROOT = Path(__file__).parent.parent
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = [*GUIDES, ROOT / "CHANGELOG.md"]
VERSION = importlib.metadata.version("fastdiff-toolkit")
MOST_LINES = 150  # of README

# Commands of the documentation. Those of RUN run here, in a folder of small stand-ins for the reader's files.
RUN = (
    "fastdiff solvers",
    "fastdiff solvers certify unipc",
    "fastdiff models show scenes",
    "fastdiff edit data/samples-edit/dog-face.png --prompt 'dog face on a red background'",
    "fastdiff edit dog.jpg --source 'a dog' --prompt 'a cat' --model my-pixart/ --blend 'dog cat' --n 4",
    "fastdiff edit dog.jpg --source 'a dog' --prompt 'a cat' --model my-pixart/ --preview --n 8",
    "fastdiff edit dog.jpg --source 'a dog' --prompt 'a cat' --model my-pixart/ --solver dpmpp-2m --steps 30 "
    "--accelerate sada --verify",
    "fastdiff refine dog-preview-3.png",
    "fastdiff edit --csv edits.csv --model my-pixart/",
    "fastdiff rerun dog-edit.png",
    "fastdiff invert dog.jpg --source 'a dog' --model my-pixart/",
)
# Those of PLANNED run with --dry-run: tests of the applications run the like with small networks.
PLANNED = (
    "fastdiff docclean scans/",
    "fastdiff docclean scans/ --dry-run",
    "fastdiff docclean letter.pdf -o clean.pdf",
    "fastdiff docclean 'photos/*.jpg' --task deblur --format pdf",
    "fastdiff docclean archive/ -r --task binarize --format tiff --jobs 2",
    "fastdiff docclean scans/ --weights runs/mine/docclean.safetensors",
    "fastdiff attack photos/",
    "fastdiff attack photos/ --labels labels.csv --target csv",
    "fastdiff attack val/ --recursive --labels val",
    "fastdiff attack photos/ --transfer efficientnet-lite1",
    "fastdiff attack photos/ --method pgd --epsilons 2,4,8,16 -o curve/",
    "fastdiff attack photos/ --method transfer --surrogate efficientnet-lite1 --transfer efficientnet-lite2",
    "fastdiff attack photos/ --method semantic --transfer efficientnet-lite1",
    "fastdiff attack photos/ --classifier module:my_net:build --classes names.txt",
)
# Those of PARSED are parsed only, and their options checked together.
PARSED = {
    "reads the cache of the hub of this computer; test_hub has its own": ("fastdiff models list",),
    "needs a download": (
        "fastdiff models download PixArt-alpha/PixArt-XL-2-512x512",
        "fastdiff models verify PixArt-alpha/PixArt-XL-2-512x512",
        "fastdiff edit dog.jpg --source 'a dog on grass' --prompt 'a cat on grass' "
        "--model PixArt-alpha/PixArt-XL-2-512x512",
        "fastdiff attack cat.jpg --target 'fire engine' --classifier timm:resnet18.a1_in1k",
        "fastdiff attack photos/ --model stable-diffusion-v1-5/stable-diffusion-v1-5 --method sca-official "
        "--captioner blip-folder/",
    ),
    "needs files of others; test_lora and test_checkpoint have their own": (
        "fastdiff edit dog.jpg --source 'a dog' --prompt 'a cat' --model my-sd/ --lora style.safetensors:0.7",
        "fastdiff edit dog.jpg --source 'a dog' --prompt 'a cat' --model tuned.safetensors --config my-sd/",
    ),
    "is slow on the bundled model; test_solvers_command has a small one": (
        "fastdiff solvers certify ddim --model scenes",
    ),
    "takes minutes to hours": (
        "fastdiff search docclean --nfe 5..12",
        "fastdiff search scenes --guidance 4.5 --nfe 5,8 -o scenes.safetensors",
        "fastdiff tune docclean --solver dode --nfe 5,6,8",
        "fastdiff tune my-pixart/ --solver dc --prompts prompts.txt -o mine.safetensors",
        "fastdiff tune scenes --solver consistency --guidance 4.5 --nfe 5,8",
        "fastdiff tune my-pixart/ --accelerate first-block --nfe 50 --guidance 4.5 -o cache.safetensors",
        "fastdiff train docclean --folder runs/mine",
        "fastdiff train docclean --folder runs/mine --pages clean-scans/",
        "fastdiff train docclean --task deblur --folder runs/deblur --start-from runs/mine/docclean.safetensors",
        "fastdiff train docclean --task deblur --folder runs/guided --stage denoiser",
        "fastdiff train docclean --task deblur --folder runs/guided --stage ocr "
        "--start-from data/docclean-deblur.safetensors",
        "fastdiff train docclean --colour --stage predictor --folder runs/colour "
        "--start-from data/docclean.safetensors",
        "fastdiff train edit --steps 4500",
        "fastdiff train codec --minutes 60 --dtype bfloat16",
        "fastdiff train recogniser --dtype bfloat16",
        "fastdiff train prior --steps 4000 --dtype bfloat16",
        "fastdiff train lcm scenes --dtype bfloat16 --compile",
        "fastdiff train lcm my-pixart/ --pictures captioned/ --folder runs/lcm",
        "fastdiff train speedup scenes --dtype bfloat16 --compile",
    ),
    "needs the result of one of those": (
        "fastdiff docclean scans/ --task clean --solver-file docclean-dode.safetensors",
        "fastdiff edit dog.jpg --source 'a dog' --prompt 'a cat' --model my-pixart/ --preset lcm "
        "--lora runs/lcm/lcm/adapter_model.safetensors",
        "fastdiff edit dog.jpg --source 'a dog' --prompt 'a cat' --model my-pixart/ --preset speedup "
        "--speedup runs/speedup/speedup/speedup.safetensors",
        "fastdiff edit fox.png --prompt 'owl on a teal background' --guidance 4.5 "
        "--solver-file scenes-consistency.safetensors --preview",
        "fastdiff refine fox-preview.png",
    ),
}


class Block(NamedTuple):
    """A fenced block of a document."""

    document: str
    line: int
    language: str
    text: str


def blocks(path: Path) -> Iterator[Block]:
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE):
        line = path.read_text().count("\n", 0, match.start()) + 2
        yield Block(path.name, line, match[1], match[2])


def prose(path: Path) -> str:
    """The text of a document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def spans(path: Path) -> list[str]:
    """The inline code of a document."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(path))]


def shell_lines(path: Path) -> list[str]:
    return [line for block in blocks(path) if not block.language for line in block.text.splitlines() if line.strip()]


def normal(line: str) -> str:
    """A command without its comment, spelled in one way."""
    return shlex.join(shlex.split(line, comments=True))


def shown() -> set[str]:
    """The commands of all guides."""
    return {normal(line) for path in GUIDES for line in shell_lines(path) if line.startswith("fastdiff ")}


def commands() -> dict[str, click.Command]:
    """Every command and group of commands by its words, such as `fastdiff train edit`."""
    found: dict[str, click.Command] = {}

    def walk(name: str, command: click.Command) -> None:
        found[name] = command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for word in command.list_commands(context):
                child = command.get_command(context, word)
                assert child is not None
                walk(f"{name} {word}", child)

    walk("fastdiff", cli.fastdiff)
    return found


def check_usage(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse a command and, for applications, check its options together; do nothing else."""

    def invoke(command: click.Command, context: click.Context) -> int:
        name = context.command_path.split()[1]
        if name in APPS:
            options = importlib.import_module(f"fastdiff.apps.{name}.options").Options
            options(**{k: v for k, v in context.params.items() if k not in ("as_json", "dry_run", "debug")})
        return 0

    monkeypatch.setattr(Command, "invoke", invoke)
    assert cli.main(shlex.split(line)[1:]) == 0, line


# --- links


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()).replace(" ", "-")


@cache
def anchors(path: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_resolve(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists() and file.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(file), target


def test_readme_links_every_guide_and_is_short() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= MOST_LINES
    assert all(f"docs/{path.name}" in text for path in (ROOT / "docs").glob("*.md"))


# --- commands


def test_every_command_is_run_planned_or_parsed() -> None:
    listed = [*RUN, *PLANNED, *(line for lines in PARSED.values() for line in lines)]
    assert len(listed) == len(set(map(normal, listed)))
    assert shown() == set(map(normal, listed))


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small stand-ins for the files that the guides name."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("samples", "samples-edit"):
        shutil.copytree(ROOT / "data" / name, folder / "data" / name)
    page = Image.open(ROOT / "data/samples/memo.png").convert("L").crop((0, 0, 400, 160))
    for name in ("scans/memo.png", "archive/box/memo.png", "letter.pdf"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        page.save(folder / name)
    down, across = np.mgrid[:96, :128]
    colours = np.stack([2 * across, 255 - 2 * down, 128 + 60 * np.sin(across / 9)], axis=-1).astype(np.uint8)
    for name in ("dog.jpg", "photos/dog.jpg", "val/pug/dog.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colours).save(folder / name)
    (folder / "runs/mine").mkdir(parents=True)
    (folder / "runs/mine/docclean.safetensors").symlink_to(ROOT / "data/docclean.safetensors")
    (folder / "labels.csv").write_text("image,true_label,target_label\ndog.jpg,pug,fire engine\n")
    (folder / "edits.csv").write_text("input,prompt,source\ndog.jpg,a cat,a dog\n")
    (folder / "names.txt").write_text("cat\ndog\n")
    (own,) = (block.text for path in GUIDES for block in blocks(path) if block.text.startswith("# my_net.py"))
    (folder / "my_net.py").write_text(own)
    tiny_pixart.write(folder / "my-pixart")
    (folder / "runs/speedup/speedup").mkdir(parents=True)
    network = load_editable(str(folder / "my-pixart")).network
    SpeedUpFile(begin_speedup(network), "my-pixart", "").save(folder / "runs/speedup/speedup/speedup.safetensors")
    with pytest.MonkeyPatch.context() as patch:  # what `rerun` and `refine` begin with
        patch.chdir(folder)
        way = ["dog.jpg", "--source", "a dog", "--prompt", "a cat", "--model", "my-pixart/"]
        assert cli.main(["edit", *way, "--steps", "2", "-o", "dog-edit.png"]) == 0
        assert cli.main(["edit", *way, "--preview", "--n", "8"]) == 0
    return folder


@pytest.mark.parametrize("line", RUN)
def test_command_runs(line: str, reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(reader)
    assert cli.main(shlex.split(line)[1:]) == 0


@pytest.mark.parametrize("line", PLANNED)
def test_command_is_planned(
    line: str, reader: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(reader)
    before = sorted(reader.rglob("*"))
    assert cli.main([*dict.fromkeys([*shlex.split(line)[1:], "--dry-run"])]) == 0
    assert "calls to other computers: none" in capsys.readouterr().out
    assert [path for path in sorted(reader.rglob("*")) if "__pycache__" not in path.parts] == before


@pytest.mark.parametrize("line", [line for lines in PARSED.values() for line in lines])
def test_command_is_parsed(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_usage(line, monkeypatch)


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_inline_commands_and_options_exist(path: Path) -> None:
    """`fastdiff NAME` names a command; options exist in one of the commands, or of the benchmarks and pip."""
    parameters = [parameter for each in commands().values() for parameter in each.params]
    options = {name for each in parameters for name in (*each.opts, *each.secondary_opts)}
    options |= {"--help", "--version", *re.findall(r'"(--\w+)"', sources("benchmarks"))}
    for span in spans(path):
        if span.startswith("fastdiff "):
            assert span.split()[1] in {*cli.COMMANDS, "--help", "COMMAND"}, span
        if span.startswith(("fastdiff ", "--", "python -m benchmarks")):
            for option in re.findall(r"(?<!\S)--?[a-z][\w-]*", span.partition(" -m ")[2] or span):
                assert option in options, span


@cache
def sources(folder: str) -> str:
    return "\n".join(path.read_text() for path in sorted((ROOT / folder).rglob("__main__.py")))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_and_benchmarks_exist(path: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [*shell_lines(path), *spans(path)]
    for line in lines:
        if match := re.match(r"make ([\w-]+)", line):
            assert match[1] in targets, line
        for module, rest in re.findall(r"python -m (benchmarks[\w.]*)(.*)", line):
            file = ROOT / module.replace(".", "/")
            assert file.with_suffix(".py").exists() or (file / "__main__.py").exists(), line
            if only := re.search(r"--only (\S+)", rest):
                assert set(only[1].split(",")) <= sections(file / "__main__.py"), line


def sections(path: Path) -> set[str]:
    """The keys of SECTIONS in a benchmark."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SECTIONS":
            assert isinstance(node.value, ast.Dict)
            return {str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)}
    raise AssertionError(f"{path} has no SECTIONS")


def test_readme_lists_the_extras() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    table = re.search(r"\| Extra \|.*?\n\n", (ROOT / "README.md").read_text(), re.DOTALL)
    assert table and set(re.findall(r"^\| `(\w+)`", table[0], re.MULTILINE)) == set(extras)


def test_solvers_inverters_and_grids_are_named() -> None:
    solvers, pipelines = ((ROOT / "docs" / name).read_text() for name in ("solvers.md", "diffusers.md"))
    assert all(f"`{name}`" in solvers for name in (*SOLVERS, *TUNED, *INVERTERS))
    assert all(f"`{name}`" in pipelines for name in SPACINGS)


# --- Python


@pytest.mark.parametrize(
    "block",
    [block for path in GUIDES for block in blocks(path) if block.language == "python"],
    ids=lambda block: f"{block.document}:{block.line}",
)
def test_python_runs(block: Block, reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(reader)
    given: dict[str, Any] = {"__name__": "example", "pipe": SimpleNamespace(scheduler=DDIMScheduler())}
    exec(compile(block.text, f"{block.document}:{block.line}", "exec"), given)


# --- help, version, completion, other files


@pytest.mark.parametrize("name", commands())
def test_help_has_a_summary_an_example_and_exit_codes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = commands()[name]
    text = command.get_help(click.Context(command, info_name=name))
    assert re.search(r"^  Examples?:$", text, re.MULTILINE) and re.search(r"^  Exit codes:$", text, re.MULTILINE)
    assert name == "fastdiff" or not command.get_short_help_str(limit=80).endswith("...")
    examples = re.findall(r"^    (fastdiff .+)$", text, re.MULTILINE)
    assert any(line.startswith(name) for line in examples)
    for line in examples:
        check_usage(re.split(r"\s{2,}", line)[0], monkeypatch)
    assert all(each.help and each.help[-1] in ".]" for each in command.params if isinstance(each, click.Option))


def test_the_list_of_commands_has_their_summaries() -> None:
    for name, summary in cli.COMMANDS.items():
        command = cli.fastdiff.get_command(click.Context(cli.fastdiff), name)
        assert command is not None and command.help is not None
        assert " ".join(command.help.partition("\n\n")[0].split()) == summary


def test_version_is_that_of_the_package_the_citation_and_the_changelog(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"fastdiff, version {VERSION}\n"
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {stated}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^## \[{re.escape(stated)}\] - \d{{4}}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M)


def completion(**variables: str) -> str:
    code = "from fastdiff.cli.main import main; main()"
    environment = os.environ | variables
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_is_a_script(shell: str) -> None:
    script = completion(_FASTDIFF_COMPLETE=f"{shell}_source")
    assert f"_FASTDIFF_COMPLETE={shell}_complete" in script
    assert f"_FASTDIFF_COMPLETE={shell}_source fastdiff" in (ROOT / "README.md").read_text()


def test_shell_completion_completes_commands_and_options() -> None:
    words = completion(_FASTDIFF_COMPLETE="bash_complete", COMP_WORDS="fastdiff doc", COMP_CWORD="1")
    assert words == "plain,docclean\n"
    words = completion(_FASTDIFF_COMPLETE="bash_complete", COMP_WORDS="fastdiff docclean --trust", COMP_CWORD="2")
    assert words == "plain,--trust-digits\n"


def test_hooks_are_local() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"repo: (.+)", text) == ["local"]
    assert re.findall(r"entry: (\S+)", text) == [".venv/bin/ruff", ".venv/bin/mypy"]


def test_cards_state_the_licence_of_readme() -> None:
    """README says that weights are under Apache-2.0, and how many photographs taught them."""
    cards = [json.loads(path.read_text()) for path in (ROOT / "data").rglob("*.json") if path.name.startswith("doccl")]
    folders = [path.relative_to(ROOT).as_posix() for path in (ROOT / "data").glob("*/card.json")]
    cards += [json.loads((ROOT / path).read_text()) for path in folders]
    assert {card.get("card", card)["licence"] for card in cards} == {"Apache-2.0"}
    text = " ".join((ROOT / "README.md").read_text().split())
    assert {"data/scenes/card.json", "data/photos/card.json"} <= set(folders)
    assert [path for path in folders if f"`{path}`" not in text] == []
    photographs = len(json.loads((ROOT / "data/photos/card.json").read_text())["data"]["photos"])
    coloured = len(json.loads((ROOT / "data/docclean-colour.json").read_text())["data"]["photos"])
    assert f"{photographs} photographs, and the colour weights of docclean from {coloured}" in text
