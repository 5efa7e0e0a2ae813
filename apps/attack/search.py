"""The loop of all attacks, separate for every picture: evaluate, stop or ascend, project onto the epsilon ball."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fastdiff.apps.attack.objective import Goal
from fastdiff.apps.attack.optimizer import Adam, Optimizer, Signs, clip_to_epsilon
from fastdiff.apps.attack.presets import Preset
from fastdiff.apps.attack.space import Space
from fastdiff.solvers.readback import read_back, selected

Classifier = Callable[[Tensor], Tensor]  # colours (B, 3, H, W) in [0, 1] to logits (B, C)


@dataclass(frozen=True, eq=False)
class Found:
    """The best result for each of B pictures."""

    pictures: Tensor  # (B, 3, H, W) in [0, 1], colours of 8 bits
    delta: Tensor  # (B, ...) the perturbations behind them
    margin: Tensor  # (B,) as `Goal.margin`
    success: Tensor  # (B,) bool
    iterations: Tensor  # (B,) updates made
    calls: Tensor  # (B,) calls of the diffusion network while the picture was active


def search(
    space: Space, classify: Classifier, goal: Goal, preset: Preset, watch: Callable[[float], None] = lambda share: None
) -> Found:
    """Perturb the pictures until they reach the goal, for at most the preset's number of iterations.

    After its first success a picture takes `preset.refine` more iterations; each success shrinks its epsilon. Returns,
    per picture: the successful iterate with the smallest mean squared colour change; if none succeeded, the iterate
    with the largest margin. If the preset does not stop early, the last iterate. `watch` receives the share done.
    """
    delta, count = space.unperturbed, len(space.pictures)
    optimizer = _optimizer(preset)
    memory = optimizer.begin(delta)
    radius = delta.new_full((count,), torch.inf if preset.epsilon is None else preset.epsilon)
    best = _Best(space)
    active = torch.arange(count, device=delta.device)
    for update in range(preset.iterations + 1):
        watch(update / (preset.iterations + 1))
        part, before = space.take(active), space.calls
        look = _Look(part, classify, goal.take(active), delta[active], preset)
        best.see(active, look, delta[active], keep_last=not preset.early_stop)
        going = _going(best, active, preset) & (update < preset.iterations)
        if read_back(going.any()):
            gradient = selected(look.gradient(), going)
        best.calls[active] += space.calls - before
        won, active = selected(look.won, going), selected(active, going)
        if not len(active):
            break
        if preset.early_stop:
            reached = delta[active].abs().flatten(1).amax(1)
            radius[active] = torch.where(won, preset.shrink * reached, radius[active])
        change, memory[active] = optimizer.step(memory[active], gradient, update + 1)
        delta[active] = clip_to_epsilon(space.take(active).add(delta[active], change), radius[active])
        best.updated(active)
    return best.found(space)


class _Look:
    """The classifier's output on perturbed pictures, and the gradient of the score."""

    def __init__(self, space: Space, classify: Classifier, goal: Goal, delta: Tensor, preset: Preset) -> None:
        made, self._pull = space.sampled(delta)
        self._made = made.detach().requires_grad_()
        with torch.enable_grad():
            pictures = space.decode(self._made)
            draws = [classify(pictures) for _ in range(preset.eot)]
            self._score = preset.scale * torch.stack([goal.score(logits, preset.loss).sum() for logits in draws]).mean()
        self.pictures = pictures.detach()
        self.change = (self.pictures - space.pictures).square().flatten(1).mean(1)
        self.margin = torch.stack([goal.margin(logits.detach()) for logits in draws]).mean(0)
        self.won = self.margin > preset.confidence

    def gradient(self) -> Tensor:
        """Return the gradient of the score by the perturbations, 0 where the classifier's is not finite."""
        return self._pull(torch.autograd.grad(self._score, self._made)[0].nan_to_num(0, 0, 0))


class _Best:
    """The best iterates so far, and their cost."""

    def __init__(self, space: Space) -> None:
        self.pictures, self.delta = space.pictures.clone(), space.unperturbed
        rows = len(self.pictures)
        device = self.pictures.device
        self.margin = self.pictures.new_full((rows,), -torch.inf)
        self.change = self.pictures.new_full((rows,), torch.inf)
        self.success = torch.zeros(rows, dtype=torch.bool, device=device)
        self.iterations = torch.zeros(rows, dtype=torch.long, device=device)
        self.refined = torch.zeros(rows, dtype=torch.long, device=device)
        self.calls = torch.zeros(rows, dtype=torch.long, device=device)

    def see(self, rows: Tensor, look: _Look, delta: Tensor, *, keep_last: bool) -> None:
        ahead = torch.where(look.won, look.change < self.change[rows], look.margin > self.margin[rows])
        better = (look.won >= self.success[rows]) & (ahead | (look.won > self.success[rows]))
        if keep_last:
            better = torch.ones_like(better)
        kept = selected(rows, better)
        self.pictures[kept], self.delta[kept] = selected(look.pictures, better), selected(delta, better)
        self.margin[kept], self.success[kept] = selected(look.margin, better), selected(look.won, better)
        self.change[kept] = selected(look.change, better)

    def updated(self, rows: Tensor) -> None:
        self.iterations[rows] += 1
        self.refined[rows] += self.success[rows]

    def found(self, space: Space) -> Found:
        return Found(space.quantized(self.pictures), self.delta, self.margin, self.success, self.iterations, self.calls)


def _going(best: _Best, rows: Tensor, preset: Preset) -> Tensor:
    if not preset.early_stop:
        return torch.ones_like(rows, dtype=torch.bool)
    return ~best.success[rows] | (best.refined[rows] < preset.refine)


def _optimizer(preset: Preset) -> Optimizer:
    return Adam(preset.step) if preset.adam else Signs(preset.step, preset.momentum)
