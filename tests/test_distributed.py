"""Parallel runs over several processes: the run of one process, in every process, for a share of its evaluations."""

import process_groups
import torch
from problems import MIXTURE

from fastdiff.solvers.denoiser import Denoiser

PROCESSES = 2


def test_every_process_ends_with_the_run_of_one(tmp_path):
    found = process_groups.start(PROCESSES, tmp_path)
    problems: list[Denoiser] = [MIXTURE, process_groups.network()]
    for number, f in enumerate(problems):
        alone, runs = process_groups.run(f), [runs[number] for runs, _ in found]
        for each in runs:
            torch.testing.assert_close(each.x, alone.x, rtol=1e-12, atol=1e-12)
            assert torch.equal(each.x, runs[0].x) and each[1:3] == alone[1:3]
        if number == 0:  # an evaluation a level
            assert sum(each.here for each in runs) == alone.evaluations and runs[0].here < alone.evaluations
    for _, sentences in found:
        assert sentences == ["gradients do not pass between processes: evaluate under torch.no_grad"] * 2
