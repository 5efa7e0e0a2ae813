"""The result of an attack on pictures in memory."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from fastdiff.apps.attack.naturalness import Naturalness, compare
from fastdiff.apps.attack.report import AttackReport, rate
from fastdiff.apps.attack.victim_examination import VictimExamination
from fastdiff.apps.images.picture import to_uint8
from fastdiff.apps.measures import accuracy


@dataclass(frozen=True, eq=False)
class Result:
    """N attacked pictures, on the CPU, each judged by itself.

    `adversarial` has colours of 8 bits, so that a PNG holds the same; a picture that was not attacked is as it came.
    `attacked` is False where the classifier was wrong beforehand or saw the target already. `success` says that the
    attacked picture reaches the goal. `reports` have iterations, calls of the prior, and the reasons of those not
    attacked.
    """

    pictures: Tensor  # (N, C, H, W) in [0, 1], as given
    adversarial: Tensor  # (N, C, H, W) in [0, 1]
    labels: Tensor  # (N,) as given, else the classes predicted for `pictures`
    targets: Tensor | None  # (N,)
    before: Tensor  # (N,) classes predicted for `pictures`
    after: Tensor  # (N,) classes predicted for `adversarial`
    attacked: Tensor  # (N,) bool
    success: Tensor  # (N,) bool
    labelled: bool  # whether labels were given
    examination: VictimExamination
    reports: tuple[AttackReport, ...]

    @property
    def summary(self) -> dict[str, Any]:
        """Rates with numerators, denominators, 95 % intervals (Wilson) and the classifier's red flags.

        The attack's success rate is over attacked pictures. `clean_accuracy` and `robust_accuracy` are over all, None
        without labels: the shares of pictures, and of attacked pictures, that the classifier is right about.
        """
        flags, count = self.examination.flag_names, len(self.labels)
        right, robust = (self.before == self.labels, self.after == self.labels)
        return {
            **rate(int(self.success.sum()), int(self.attacked.sum()), flags),
            "clean_accuracy": accuracy(int(right.sum()), count, flags) if self.labelled else None,
            "robust_accuracy": accuracy(int((right & robust).sum()), count, flags) if self.labelled else None,
        }

    @cached_property
    def naturalness(self) -> tuple[Naturalness, ...]:
        """The measures of each picture's change, computed at first use. Grey pictures count as three equal colours."""
        pairs = zip(self.pictures, self.adversarial, strict=True)
        return tuple(compare(*(to_uint8(2 * each.expand(3, -1, -1) - 1) for each in pair)) for pair in pairs)
