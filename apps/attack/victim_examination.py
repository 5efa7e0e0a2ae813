"""Examines an attacked classifier before a run, for what makes numbers of robustness wrong.

The signs are those of gradient masking (Athalye et al. 2018, arXiv 1802.00420) that AutoAttack warns of (Croce and Hein
2020, arXiv 2003.01690), as far as they cost few passes: a random classifier, one that acts otherwise where gradients
are taken, gradients that are zero, not finite, lead nowhere or turn at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fastdiff.apps.attack.objective import Goal
from fastdiff.apps.attack.presets import Preset
from fastdiff.models.classifier import ClassifierTarget, OutputKind
from fastdiff.solvers.errors import UsageError

NOISE = 8 / 255  # largest change of a colour by the noise under which logits should be finite
PROBE_STEP = 2 / 255  # of the step along the gradient, and of the random one that it should beat
INWARD = 1 / 255  # by which colours leave black and white, where a clamp has no gradient
REPEATS = 8  # passes over all pictures together that should give the logits of the first
RIPPLE = 1 / 255  # distance of colours over which a gradient should keep its direction
NUDGE = RIPPLE / 16  # of the step along the gradient between them
LEAST_COSINE = 0.2  # of these gradients; EfficientNet-Lite has 0.5 to 0.9
MOST_SHATTERED = 0.25  # share of pictures below it: where ripples turn a gradient, half of all turns are small
MOST_ZERO = 0.9  # share of zeros in a gradient
MOST_CLAMPED = 0.25  # share of zeros that are gone once colours leave black and white
TOLERANCE = 1e-4  # of the largest logit, within which two outputs are equal: threads and batches change less


@dataclass(frozen=True, eq=False)
class Specimen:
    """A picture to examine the classifier on."""

    colours: Tensor  # (1, 3, H, W) in [0, 1]
    true: int | None  # None is the predicted class
    target: int | None  # None is any other class


@dataclass(frozen=True)
class Flag:
    """A red flag: a reason not to read rates as robustness."""

    name: str
    sentence: str


@dataclass(frozen=True)
class VictimExamination:
    """What the examination found.

    Shares are of the elements of gradients of the run's loss that the network sees, mean over `pictures`;
    `pictures_without_gradient` counts those whose gradient is zero everywhere. `finite_under_noise` is the share of
    pictures whose logits are finite with noise of NOISE. `largest_logit` is absolute. `clean_accuracy` is a rate as in
    `report.rate`, None without labels.
    """

    classifier: str
    pictures: int
    clean_accuracy: dict[str, Any] | None
    outputs: OutputKind
    zero_gradients: float
    non_finite_gradients: float
    pictures_without_gradient: int
    finite_under_noise: float
    largest_logit: float
    random: bool
    notes: tuple[str, ...]
    flags: tuple[Flag, ...]

    @property
    def flag_names(self) -> list[str]:
        return [flag.name for flag in self.flags]


def examine(
    classifier: ClassifierTarget, specimens: Sequence[Specimen], preset: Preset, clean_accuracy: dict[str, Any] | None
) -> VictimExamination:
    """Examine a classifier on one picture or more, each by itself; `preset` is that of the run.

    Raises UsageError, with what to do, for a classifier whose gradient is zero or not finite on all pictures, and for
    one whose logits are not finite.
    """
    seen, errors = [], []
    for number, specimen in enumerate(specimens):
        try:
            seen.append(_observe(classifier, specimen, preset, number, max(1, REPEATS // len(specimens))))
        except UsageError as error:
            errors.append(error)
    if not seen:
        raise errors[0]
    count = len(seen)
    without = sum(each.zero == 1 for each in seen)
    random = any(each.random for each in seen)
    _refuse(classifier, seen, preset)
    notes = list(classifier.notes)
    if classifier.output_kind == "probabilities":
        notes.append("gives probabilities: their logarithms are taken as logits")
    if random and preset.eot > 1:
        notes.append(f"is random: gradients and verdicts are means of {preset.eot} draws")
    return VictimExamination(
        classifier=classifier.name,
        pictures=count,
        clean_accuracy=clean_accuracy,
        outputs=classifier.output_kind,
        zero_gradients=sum(each.zero for each in seen) / count,
        non_finite_gradients=sum(each.non_finite for each in seen) / count,
        pictures_without_gradient=without,
        finite_under_noise=sum(each.finite_under_noise for each in seen) / count,
        largest_logit=max(each.largest_logit for each in seen),
        random=random,
        notes=tuple(notes),
        flags=_flags(seen, preset, len(errors)),
    )


def depends_on_batch(classifier: ClassifierTarget, specimens: Sequence[Specimen]) -> bool:
    """Return True if logits of a picture differ with others in its batch; False for a random classifier."""
    colours = specimens[0].colours
    with torch.no_grad():
        alone, again = classifier(colours), classifier(colours)
        together = classifier(torch.cat([colours, 1 - colours]))[:1]
    return _equal(alone, again) and not _equal(alone, together)


@dataclass(frozen=True)
class _Observation:
    """What one picture shows."""

    zero: float
    non_finite: float
    zero_off_bounds: float  # share of zeros once colours have left black and white
    zero_of_margin: float  # share of zeros in the gradient of the margin
    finite_under_noise: bool
    largest_logit: float
    random: bool
    dynamic: bool  # logits change where gradients are taken
    misleading: bool  # a step along the gradient raises the margin no more than a random one
    shattered: bool  # the gradient turns within a level of 8 bits


def _observe(
    classifier: ClassifierTarget, specimen: Specimen, preset: Preset, number: int, repeats: int
) -> _Observation:
    colours = specimen.colours
    with torch.no_grad():
        clean, *again = (classifier(colours) for _ in range(1 + repeats))
    targeted = specimen.target is not None
    label = specimen.target if targeted else int(clean.argmax()) if specimen.true is None else specimen.true
    goal = Goal(torch.tensor([label], device=colours.device), targeted)
    reached = _reaches_network(classifier, colours)
    score = partial(goal.score, loss=preset.loss)
    gradient, tracked = _gradient(classifier, colours, score, preset.eot)
    zero = _share(gradient == 0, reached)
    off_bounds = zero_of_margin = zero
    if zero > 0:
        inward, _ = _gradient(classifier, colours.clamp(INWARD, 1 - INWARD), score, preset.eot)
        off_bounds = _share(inward == 0, reached)
        of_margin, _ = _gradient(classifier, colours, goal.margin, preset.eot)
        zero_of_margin = _share(of_margin == 0, reached)
    generator = torch.Generator().manual_seed(number)
    noise = (2 * torch.rand(colours.shape, generator=generator) - 1).to(colours)
    random_margin = _margin(classifier, goal, colours + PROBE_STEP * noise.sign())
    finite = _margin(classifier, goal, colours + NOISE * noise) is not None
    led_margin = _margin(classifier, goal, colours + PROBE_STEP * gradient.nan_to_num(0, 0, 0).sign())
    return _Observation(
        zero=zero,
        non_finite=_share(~gradient.isfinite(), reached),
        zero_off_bounds=off_bounds,
        zero_of_margin=zero_of_margin,
        finite_under_noise=finite,
        largest_logit=float(clean.abs().max()),
        random=not all(_equal(clean, each) for each in again),
        dynamic=not _equal(clean, tracked),
        misleading=random_margin is not None and (led_margin is None or led_margin <= random_margin),
        shattered=finite and zero <= MOST_ZERO and _turns(classifier, colours, noise, goal, preset.eot),
    )


def _gradient(
    classifier: ClassifierTarget, colours: Tensor, score: Callable[[Tensor], Tensor], draws: int
) -> tuple[Tensor, Tensor]:
    """Return the gradient of the score of logits by the colours, zero where none is recorded, and the logits (1, C)."""
    leaf = colours.detach().clone().requires_grad_()
    with torch.enable_grad():
        outputs = [classifier(leaf) for _ in range(draws)]
        mean = torch.stack([score(logits) for logits in outputs]).sum() / draws
    logits = outputs[0].detach()
    if not mean.requires_grad:
        return torch.zeros_like(colours), logits
    (gradient,) = torch.autograd.grad(mean, leaf, allow_unused=True)
    return torch.zeros_like(colours) if gradient is None else gradient, logits


def _turns(classifier: ClassifierTarget, colours: Tensor, noise: Tensor, goal: Goal, draws: int) -> bool:
    """Return True if gradients at two colours about RIPPLE apart, or less, have other directions.

    The gradient is that of the odds: those of the losses are rounding where a classifier is sure, or turn where
    runners-up are alike. The noise between the colours finds ripples of each pixel; a step of NUDGE along the first
    gradient finds those of a sum of pixels, in which noise cancels out.
    """
    inside = colours.clamp(RIPPLE, 1 - RIPPLE)
    first, _ = _gradient(classifier, inside + RIPPLE / 2 * noise, goal.odds, draws)
    first = first.nan_to_num(0, 0, 0)
    nudged = inside - RIPPLE / 2 * noise + NUDGE * first.sign()
    second, _ = _gradient(classifier, nudged, goal.odds, draws)
    cosine = torch.cosine_similarity(first.flatten(), second.nan_to_num(0, 0, 0).flatten(), dim=0)
    return float(cosine) < LEAST_COSINE


def _reaches_network(classifier: ClassifierTarget, colours: Tensor) -> Tensor:
    """Return the colours (1, 3, H, W), bool, that preprocessing does not crop."""
    leaf = colours.detach().clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(classifier.preprocessing(leaf).sum(), leaf)
    return gradient != 0


def _margin(classifier: ClassifierTarget, goal: Goal, colours: Tensor) -> float | None:
    """Return the margin of the goal at colours, clamped to [0, 1]; None where logits are not finite."""
    with torch.no_grad():
        try:
            return float(goal.margin(classifier(colours.clamp(0, 1)))[0])
        except UsageError:
            return None


def _share(of: Tensor, reached: Tensor) -> float:
    return float(of[reached].float().mean())


def _equal(a: Tensor, b: Tensor) -> bool:
    return bool(((a - b).abs() <= TOLERANCE * a.abs().max()).all())


def _refuse(classifier: ClassifierTarget, seen: Sequence[_Observation], preset: Preset) -> None:
    on = f"on {len(seen)} of {len(seen)} examined pictures"
    if not any(each.finite_under_noise for each in seen):
        raise UsageError(
            f"{classifier.name} gives logits that are not finite numbers {on} with noise of {NOISE * 255:.0f}/255: "
            "look for a division, square root or logarithm at 0, or numbers too large for its precision"
        )
    if all(each.non_finite > 0 for each in seen):
        raise UsageError(
            f"{classifier.name} has gradients that are not finite numbers {on}: look for a square root, norm, "
            "logarithm or division at 0, and add a small constant there"
        )
    if any(each.zero < 1 for each in seen):
        return
    if any(each.zero_of_margin < 1 for each in seen) and preset.loss != "margin":
        largest = max(each.largest_logit for each in seen)
        raise UsageError(
            f"the gradient of the cross-entropy of {classifier.name} is 0 {on}: its logits, up to {largest:.0f}, "
            "saturate it: give --loss margin, or divide the logits"
        )
    if any(each.zero_off_bounds < 1 for each in seen):
        raise UsageError(
            f"the gradient of {classifier.name} is 0 {on}, and only at black and white: it clamps there: clamp without "
            "a loss of gradient (x + (x.clamp(0, 1) - x).detach()), or not at all"
        )
    raise UsageError(
        f"the gradient of {classifier.name} is 0 {on}: it rounds, thresholds or detaches its input on the way (round, "
        "argmax, numpy, PIL, uint8, no_grad): let the gradient pass there (x + (round(x) - x).detach()), or attack the "
        "network behind it"
    )


def _flags(seen: Sequence[_Observation], preset: Preset, undefined: int) -> tuple[Flag, ...]:
    """Return the flags of what was seen; on `undefined` more pictures, logits are not finite."""
    count = len(seen)

    def of(number: int) -> str:
        return f"on {number} of {count} examined pictures"

    flags = []
    zero = sum(each.zero > MOST_ZERO for each in seen)
    if zero:
        flags.append(Flag("zero gradients", f"more than {MOST_ZERO:.0%} of the gradient is 0 {of(zero)}"))
    clamped = sum(each.zero - each.zero_off_bounds > MOST_CLAMPED for each in seen)
    if clamped:
        sentence = f"the gradient is 0 at black and white alone {of(clamped)}: the classifier clamps its input"
        flags.append(Flag("clamped input", sentence))
    if non_finite := sum(each.non_finite > 0 for each in seen):
        flags.append(
            Flag("non-finite gradients", f"the gradient is not finite {of(non_finite)}: these parts count as 0")
        )
    if undefined:
        flags.append(Flag("non-finite logits", f"logits are not finite on {undefined} of {count + undefined} pictures"))
    elif not_finite := sum(not each.finite_under_noise for each in seen):
        flags.append(Flag("non-finite logits", f"noise makes logits not finite {of(not_finite)}"))
    if any(each.random for each in seen) and preset.eot == 1:
        sentence = (
            "the same picture gives other logits again: give --eot 20 to average gradients and verdicts over draws"
        )
        flags.append(Flag("random", sentence))
    if any(each.random for each in seen):
        return tuple(flags)  # the further signs compare logits of two passes
    if dynamic := sum(each.dynamic for each in seen):
        sentence = f"logits differ where gradients are taken {of(dynamic)}: the attack sees another classifier"
        flags.append(Flag("changes for gradients", sentence))
    misleading = sum(each.misleading for each in seen)
    if 2 * misleading > count:
        sentence = (
            f"a step of {PROBE_STEP * 255:.0f}/255 along the gradient raises the margin no more than a random one "
            f"{of(misleading)}"
        )
        flags.append(Flag("misleading gradients", sentence))
    shattered = sum(each.shattered for each in seen)
    if shattered >= max(1, MOST_SHATTERED * count):
        sentence = f"noise of {RIPPLE * 255:.0f}/255 turns the gradient {of(shattered)}: ripples hide the slope"
        flags.append(Flag("shattered gradients", sentence))
    return tuple(flags)
