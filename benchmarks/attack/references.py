"""Compares PGD and MI-FGSM with those of torchattacks, on the same classifier and pictures."""

import time
from typing import Any

import torch

from benchmarks.attack.cases import Setting, cases, pictures
from benchmarks.result import Section, Table
from fastdiff.apps.attack.objective import Goal
from fastdiff.apps.attack.presets import PRESETS
from fastdiff.apps.attack.search import search
from fastdiff.apps.attack.space import Pixels, eight_bits
from fastdiff.models.classifier import ClassifierTarget
from fastdiff.models.classifier_loading import load_classifier

PICTURES = 20
BOUND, STEP, STEPS = 8 / 255, 2 / 255, 10


class NormalisedClassifier(torch.nn.Module):
    """The classifier with its normalisation, in the form that torchattacks takes."""

    def __init__(self, classifier: ClassifierTarget) -> None:
        super().__init__()
        self.net, self._classifier = classifier.net, classifier

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self._classifier(pictures)


def run(setting: Setting) -> Section:
    import torchattacks

    classifier, some = load_classifier("efficientnet-lite0"), cases(setting, PICTURES)
    net = NormalisedClassifier(classifier).eval()  # torchattacks restores the mode of a network
    attacks: dict[str, Any] = {
        "pgd": torchattacks.PGD(net, eps=BOUND, alpha=STEP, steps=STEPS, random_start=False),
        "mifgsm": torchattacks.MIFGSM(net, eps=BOUND, alpha=STEP, steps=STEPS, decay=1.0),
    }
    rows = []
    for name, attack in attacks.items():
        same, won, took = [], [0, 0], [0.0, 0.0]
        for case in some:
            clean, goal = pictures([case]), Goal(torch.tensor([case.true]), targeted=False)
            began = time.perf_counter()
            with torch.no_grad():
                ours = search(Pixels(clean, BOUND), classifier, goal, PRESETS[name]).pictures
            middle = time.perf_counter()
            other = eight_bits(attack(clean, goal.labels).detach())
            took = [took[0] + middle - began, took[1] + time.perf_counter() - middle]
            with torch.no_grad():
                for side, attacked in enumerate((ours, other)):
                    won[side] += bool(goal.margin(classifier(attacked)) > 0)
            same.append(float((ours == other).float().mean()))
        count = len(some)
        rows.append((name, won[0] / count, won[1] / count, sum(same) / count, took[0] / count, took[1] / count))
    columns = ("attack", "ours", "torchattacks", "equal colours", "our seconds", "their seconds")
    note = "Success rates; equal colours are a share of channels."
    return Section([Table(f"References at {BOUND * 255:.0f}/255, {STEPS} steps", columns, rows, note)])
