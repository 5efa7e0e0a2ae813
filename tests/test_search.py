"""The search for grid, solver and order: it keeps to the calls, ranks by held-out samples, and writes what it found."""

import pytest
import torch
from problems import MIXTURE
from sampling_problems import oracle

from fastdiff.apps.docclean.restoration.page_restorer import PageRestorer
from fastdiff.apps.running import batch
from fastdiff.apps.tuning import measure, search
from fastdiff.apps.tuning.measure import errors, reference
from fastdiff.apps.tuning.search import Ranked, Ranking, Search, candidate_configs, grids, write
from fastdiff.cli.main import main
from fastdiff.cli.problem_options import Calls
from fastdiff.solvers.denoiser import CountingDenoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.sampler_config import SamplerConfig
from fastdiff.solvers.solver_file import read_solver_file


def test_the_ranking_is_what_the_held_out_samples_say(tmp_path):
    subject = oracle(MIXTURE, tmp_path / "model")
    told = list[batch.Progress]()
    ranking = Search(subject, (4, 6), samples=8).run(told.append)
    held = list(subject.batches(8, held=True))
    exact = reference(held)
    for calls, (ranked, _) in ranking.items():
        assert ranked == sorted(ranked, key=lambda each: each.mean) and len(ranked) <= search.FINALISTS
        for each in ranked:
            solver = each.config.make()
            levels = each.config.levels(MIXTURE.schedule, calls, solver.nfe_per_step)
            counted = [(CountingDenoiser(f), x) for f, x in held]
            ends = [integrate(f, solver, x, levels).x for f, x in counted]
            assert all(f.tally.nfe <= calls for f, _ in counted)
            assert each.errors.tolist() == pytest.approx(errors(ends, exact).tolist())
    assert ranking[6].finalists[0].mean < ranking[4].finalists[0].mean
    assert told[-1].done == told[-1].total and {"reference", "4 calls", "6 calls"} == {now.name for now in told}


def test_the_winner_beats_a_common_choice(tmp_path):
    subject = oracle(MIXTURE, tmp_path / "model")
    best = Search(subject, (5,), samples=8).run()[5].finalists[0]
    held = list(subject.batches(8, held=True))
    common = SamplerConfig("dpmpp-2m", "time-uniform")
    ends = measure.ends(held, common.make(), common.levels(MIXTURE.schedule, 5))
    assert best.mean < 0.7 * errors(ends, reference(held)).mean().item()


def test_every_solver_is_tried_once_and_none_that_adds_noise():
    tried = candidate_configs("log-snr")
    solvers = [recipe.make() for recipe in tried]
    assert not any(solver.stochastic for solver in solvers)
    assert all(a != b for i, a in enumerate(solvers) for b in solvers[:i])
    assert {("unipc", 2), ("unipc", 3), ("heun", None)} <= {(each.solver, each.options.get("order")) for each in tried}


def test_grids_begin_where_the_noise_does_and_differ():
    names = grids(MIXTURE.schedule)
    assert {"log-snr", "karras", "time-uniform", "karras+clean"} <= set(names)
    assert not {"exponential", "leading", "trailing"} & set(names)  # a name more, and grids of trained steps


def test_even_is_within_the_noise_of_the_difference():
    best = Ranked(SamplerConfig("ddim", "karras"), 5, torch.tensor([1.0, 20.0, 300.0, 4000.0]))
    worse = Ranked(best.config, 5, best.errors + torch.tensor([0.1, 0.11, 0.09, 0.1]))
    noisy = Ranked(best.config, 5, best.errors + torch.tensor([1.0, -0.9, 0.8, -0.6]))
    assert noisy.even(best) and not worse.even(best)


def test_what_is_not_searched(tmp_path):
    with pytest.raises(UsageError, match="1 held-out samples"):
        Search(oracle(MIXTURE, tmp_path / "model"), (5,), samples=1)


@pytest.mark.parametrize(("text", "calls"), [("5,6,8", (5, 6, 8)), ("5..8", (5, 6, 7, 8)), ("9, 4..5,5", (4, 5, 9))])
def test_numbers_of_calls(text, calls):
    assert Calls().convert(text, None, None) == calls


@pytest.mark.parametrize("text", ["", "0", "8..5", "5..", "five", "5-8", "1..9999"])
def test_what_is_no_number_of_calls(text, capsys):
    assert main(["search", "docclean", "--nfe", text]) == 2
    assert "--nfe" in capsys.readouterr().err


def test_the_command_ranks_the_bundled_denoiser_and_docclean_takes_the_winners(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure, "REFERENCE", 20)
    monkeypatch.setattr(search, "grids", lambda schedule: ["log-snr+clean"])
    monkeypatch.setattr(search, "PROBES", search.PROBES[:1])
    out = tmp_path / "best.safetensors"
    assert main(["search", "docclean", "--nfe", "2", "--size", "16", "--samples", "2", "-o", str(out)]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert "held-out" in lines[0] and lines[1] == "2 calls"
    winner = read_solver_file(out).configs[2]
    assert lines[2].endswith(str(winner)) and winner.grid == "log-snr+clean"
    page = torch.full((32, 48), 200, dtype=torch.uint8).numpy()
    assert PageRestorer(task="clean", device="cpu", solver_file=out)(page, 0).calls == 2


def test_a_file_that_is_no_solver_file_is_refused_before_the_search(tmp_path, capsys, monkeypatch):
    monkeypatch.delattr(Search, "run")
    (tmp_path / "notes").write_text("mine")
    command = ["search", "docclean", "--nfe", "2", "--size", "16", "--samples", "2", "-o", str(tmp_path / "notes")]
    assert main(command) == 2
    assert "is not a solver file" in capsys.readouterr().err


def test_a_file_that_is_no_solver_file_is_not_replaced(tmp_path):
    (tmp_path / "notes").write_text("mine")
    search_run = Search(oracle(MIXTURE, tmp_path / "model"), (5,), samples=2)
    ranking = {5: Ranking([Ranked(SamplerConfig("ddim", "karras"), 5, torch.tensor([0.1, 0.2]))], {})}
    with pytest.raises(UsageError, match="is not a solver file"):
        write(search_run, ranking, tmp_path / "notes")
    for _ in range(2):
        write(search_run, ranking, tmp_path / "best.safetensors")
    assert read_solver_file(tmp_path / "best.safetensors").configs == {5: SamplerConfig("ddim", "karras")}


def test_the_command_says_which_acceleration_it_left_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure, "REFERENCE", 20)
    monkeypatch.setattr(search, "grids", lambda schedule: ["log-snr+clean"])
    monkeypatch.setattr(search, "PROBES", search.PROBES[:1])
    monkeypatch.setattr(search, "candidate_configs", lambda grid: [SamplerConfig("dpmpp-2m", grid)])
    assert main(["search", "docclean", "--nfe", "11", "--size", "16", "--samples", "2"]) == 0
    told = capsys.readouterr().out
    assert "  without first-block: " in told and "sada in" in told
