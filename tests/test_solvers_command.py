"""`fastdiff solvers`: the list, and certificates with their exit codes."""

from pathlib import Path

import pytest
from tiny_unet import write_prior

from fastdiff.cli.main import main
from fastdiff.inversion import certificates
from fastdiff.inversion.certificates import CERTIFICATES, ON_A_NETWORK
from fastdiff.solvers.certificates import CheckResult
from fastdiff.solvers.metadata import METADATA, TUNED_PAPERS
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.tuned import TUNED


def row(out: str, *words: str) -> str:
    return next(line for line in out.splitlines() if line.split()[: len(words)] == list(words))


@pytest.mark.parametrize("arguments", [["solvers"], ["solvers", "list"]])
def test_the_list_tells_all_solvers_in_80_columns(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()) <= 80
    together = " ".join(out.split())
    for name in SOLVERS:
        assert " ".join(METADATA[name].paper) in " ".join(row(out, name).split())
        assert "; ".join(METADATA[name].aliases) in together
    assert row(out, "heun").split()[:5] == ["heun", "2", "2", "ODE", "yes"]
    assert row(out, "sde-dpmpp-2m").split()[:5] == ["sde-dpmpp-2m", "2", "1", "SDE", "no"]
    for name, papers in TUNED_PAPERS.items():
        assert row(out, name) and all(" ".join(paper) in out for paper in papers)
    assert set(TUNED_PAPERS) == set(TUNED)
    assert "eps, x0, v or flow" in together and "DPM++ 2M Karras" in together


def test_certificates_of_one_solver(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solvers", "certify", "ddim"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert len(lines) == 2 + len(CERTIFICATES) and max(map(len, lines)) <= 80
    assert row(out, "ddim", "order").split()[2:] == ["PASS", "1.00", "and", "0.99", "1", "within", "0.15"]
    assert lines[-1] == f"{len(CERTIFICATES)} certificates passed, 0 failed"


def test_a_failure_is_told_and_counted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = {
        "order": CheckResult(False, "1.02", "2"),
        "nfe": CheckResult(True, "8", "8"),
        "way": CheckResult(None, "no", ""),
    }
    table = {kind: lambda candidate, kind=kind: verdicts[kind] for kind in verdicts}
    monkeypatch.setattr(certificates, "CERTIFICATES", table)
    assert main(["solvers", "certify"]) == 4
    out = capsys.readouterr().out
    for name in SOLVERS:
        assert row(out, name, "order").split()[2:] == ["FAIL", "1.02", "2"]
        assert row(out, name, "way").split()[2:] == ["-", "no"]
    assert out.splitlines()[-1] == f"{len(SOLVERS)} certificates passed, {len(SOLVERS)} failed"


def test_certificates_on_a_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["solvers", "certify", "sde-dpmpp-2m", "--model", str(write_prior(tmp_path))]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2 + len(ON_A_NETWORK)
    assert row(out, "sde-dpmpp-2m", "nfe").split()[2:] == ["PASS", "4", "for", "4", "steps", "4"]
    assert row(out, "sde-dpmpp-2m", "round", "trip").endswith("off, EditFriendly")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rk45"], "unknown solver 'rk45': one of ddim, euler"),
        (["DPMP-2M"], "unknown solver 'DPMP-2M', perhaps dpmpp-2m: one of ddim, euler"),
        (["ddim", "--model", "nothing"], "unknown model 'nothing'"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solvers", "certify", *arguments]) == 2
    told = capsys.readouterr()
    assert sentence in told.err and told.out == ""
