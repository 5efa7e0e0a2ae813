"""Shared labels near t = 0."""

from dataclasses import replace

import pytest
import torch
from problems import DISCRETE, random_state

from fastdiff.solvers.denoiser import Network
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.shared_timesteps import SharedTimesteps


@pytest.mark.parametrize(
    ("label", "expected"), [(0, 0), (19.9, 0), (20, 20), (59.5, 40), (99.99, 80), (100, 100), (731.5, 731.5)]
)
def test_a_label_near_zero_falls_to_the_lower_edge_of_its_part(label, expected):
    assert SharedTimesteps()(label) == expected


@pytest.mark.parametrize("rule", [SharedTimesteps(), SharedTimesteps(0.1, 5), SharedTimesteps(7.0, 3)])
def test_sharing_twice_is_sharing_once_and_never_raises_a_label(rule):
    for label in torch.linspace(0, 1.2 * rule.threshold, 997, dtype=torch.float64).tolist():
        assert rule(rule(label)) == rule(label) <= label
        assert label - rule(label) < rule.threshold / rule.parts


@pytest.mark.parametrize("rule", [SharedTimesteps(0.0), SharedTimesteps(100.0, 100)])
def test_parts_of_one_label_or_none_change_nothing(rule):
    assert all(rule(label) == label for label in range(1000))


def test_only_the_label_of_a_network_is_shared():
    """Two levels of one part: the same label, but each state is read with its own noise."""
    asked = []

    def net(x, label):
        asked.append(label)
        return 0.3 * x

    plain = Network(net, DISCRETE, "eps", DISCRETE.timestep, dtype=torch.float64)
    shared = replace(plain, timestep=SharedTimesteps().wrap(plain.timestep))
    x = random_state(2, 3)
    for label in (43.25, 58.0):
        level = DISCRETE.at_timestep(label)
        torch.testing.assert_close(shared(x, level).x0, plain(x, level).x0, rtol=0, atol=0)
    assert [label[0].item() for label in asked] == pytest.approx([40, 43.25, 40, 58])


@pytest.mark.parametrize("options", [(-1.0, 5), (100.0, 0)])
def test_bad_parts_are_refused(options):
    with pytest.raises(UsageError, match="one or more"):
        SharedTimesteps(*options)
