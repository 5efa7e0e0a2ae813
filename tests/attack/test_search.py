"""The search on problems with known answers: a mixture of Gaussians as the prior, and linear classifiers."""

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
import torchattacks
from known import known
from problems import LINEAR_BETAS, SMOOTH
from torch import Tensor

from fastdiff.apps.attack.gradient import Pullback, backprop, identity, random_free
from fastdiff.apps.attack.latents import grid
from fastdiff.apps.attack.objective import Goal
from fastdiff.apps.attack.optimizer import Adam, Signs, clip_to_epsilon
from fastdiff.apps.attack.presets import PRESETS, Perturbed, Preset
from fastdiff.apps.attack.resampling import Resampling
from fastdiff.apps.attack.search import Found, search
from fastdiff.apps.attack.space import Pixels, eight_bits
from fastdiff.inversion.edit_friendly import EditFriendly, RecordedNoise
from fastdiff.inversion.inversion import invert
from fastdiff.models.classifier import ClassifierTarget, Preprocessing, numbered
from fastdiff.solvers.dpm_solver import sde_dpmpp_2m
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.noise import Noise

HEAD = torch.randn(64, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) / 8
SAMPLES = 32


def linear(latents: Tensor) -> Tensor:
    """Logits (B, 6)."""
    return latents @ HEAD


@dataclass(frozen=True, eq=False)
class Mixture:
    """Latents of the mixture are the pictures themselves."""

    pictures: Tensor  # (B, 64)
    sample: Resampling

    calls = 0

    @property
    def unperturbed(self) -> Tensor:
        return self.sample.unperturbed

    def take(self, rows: Tensor) -> "Mixture":
        return Mixture(self.pictures[rows], self.sample.take(self.sample.f, rows))

    def add(self, delta: Tensor, change: Tensor) -> Tensor:
        return delta + change

    def sampled(self, delta: Tensor) -> tuple[Tensor, Pullback]:
        return identity(self.sample, delta)

    def decode(self, made: Tensor) -> Tensor:
        return made

    def quantized(self, pictures: Tensor) -> Tensor:
        return pictures


def inverted(preset: Preset, count: int = SAMPLES) -> Resampling:
    levels = grid(SMOOTH.schedule, preset)
    inversion = invert(SMOOTH, SMOOTH.sample(count), levels, EditFriendly(sde_dpmpp_2m(), Noise(1)), measure=False)
    return Resampling(SMOOTH, inversion, preset.perturb == "maps")


def attacked(preset: Preset, targeted: bool) -> tuple[Found, Goal]:
    sample = inverted(preset)
    pictures = SMOOTH.sample(SAMPLES)
    labels = linear(pictures).argmax(1)
    goal = Goal((labels + 1 + torch.arange(SAMPLES) % 5) % 6 if targeted else labels, targeted)
    return search(Mixture(pictures, sample), linear, goal, preset), goal


def toy(skip: float, epsilon: float, targeted: bool) -> Preset:
    way = replace(PRESETS["sca-official"], strength=1 - skip, epsilon=epsilon, step=0.4 * epsilon)
    return replace(way, iterations=20 if targeted else 10, confidence=0.0, early_stop=True)


def rate(preset: Preset, targeted: bool) -> float:
    found, _ = attacked(preset, targeted)
    return float(found.success.double().mean())


def test_more_skipping_and_larger_balls_succeed_more_often() -> None:
    skips, balls = (0.1, 0.3, 0.5, 0.7, 0.9), (0.1, 0.3, 0.6)
    for targeted, enough in ((False, 0.95), (True, 0.85)):
        rates = torch.tensor(
            [
                [attacked(toy(skip, ball, targeted), targeted)[0].success.double().mean() for ball in balls]
                for skip in skips
            ]
        )
        assert (rates.diff(dim=0) >= -0.05).all() and (rates.diff(dim=1) >= -0.05).all()
        assert rates[-1, -1] >= enough
        assert rates[0, 0] < 0.3


@pytest.mark.parametrize("perturb", ["x_T", "x_k", "maps"])
def test_no_ball_and_no_iterations_change_nothing(perturb: Perturbed) -> None:
    for change in ({"epsilon": 0.0}, {"iterations": 0}):
        preset = replace(toy(0.5, 0.3, False), perturb=perturb, **change)
        found, _ = attacked(preset, targeted=False)
        torch.testing.assert_close(found.pictures, SMOOTH.sample(SAMPLES), rtol=0, atol=1e-10)
        assert not found.success.any() and not found.delta.any()


@pytest.mark.parametrize("perturb", ["x_T", "x_k", "maps"])
def test_perturbations_stay_in_the_ball_and_refinement_lessens_them(perturb: Perturbed) -> None:
    preset = replace(toy(0.9, 0.6, False), perturb=perturb)
    found, goal = attacked(preset, targeted=False)
    assert found.success.any() and found.delta.abs().max() <= 0.6 + 1e-7
    again = inverted(preset)(found.delta)
    torch.testing.assert_close(again, found.pictures, rtol=0, atol=1e-10)
    assert torch.equal(goal.margin(linear(again)) > 0, found.success)
    refined, _ = attacked(replace(preset, refine=5), targeted=False)
    assert torch.equal(refined.success, found.success)
    change, less = ((each.pictures - SMOOTH.sample(SAMPLES)).square().mean(1) for each in (found, refined))
    assert (less <= change + 1e-12).all() and less[found.success].mean() < 0.9 * change[found.success].mean()


def test_a_success_ends_the_search_for_its_picture_alone() -> None:
    preset = replace(toy(0.9, 0.6, False), step=0.03)
    found, _ = attacked(preset, targeted=False)
    assert 0 < found.iterations.min() < found.iterations.max() <= 10
    for row in (int(found.iterations.argmin()), int(found.iterations.argmax())):
        sample = inverted(preset).take(SMOOTH, torch.tensor([row]))
        pictures = SMOOTH.sample(SAMPLES)[[row]]
        alone = search(Mixture(pictures, sample), linear, Goal(linear(pictures).argmax(1), False), preset)
        torch.testing.assert_close(alone.pictures[0], found.pictures[row], rtol=0, atol=1e-12)


def test_the_best_of_failures_is_kept() -> None:
    found, goal = attacked(toy(0.1, 0.1, True), targeted=True)
    failed = ~found.success
    clean = goal.margin(linear(SMOOTH.sample(SAMPLES)))
    assert failed.any() and (found.margin >= clean)[failed].all() and (found.margin > clean)[failed].any()
    torch.testing.assert_close(goal.margin(linear(found.pictures)), found.margin)


def test_signs_of_three_steps_by_hand() -> None:
    optimizer = Signs(0.5, momentum=0.5)
    delta, memory = torch.zeros(1, 2), optimizer.begin(torch.zeros(1, 2))
    headings = []
    for count, gradient in enumerate(([3.0, 1.0], [-1.0, 1.0], [-4.0, -4.0]), 1):
        change, memory = optimizer.step(memory, torch.tensor([gradient]), count)
        delta = delta + change
        headings.append(memory[0, 0].tolist())
    # [3, 1] / 2; half of that + [-1, 1] / 1; half of that + [-4, -4] / 4
    assert headings == [[1.5, 0.5], [-0.25, 1.25], [-1.125, -0.375]]
    assert delta.tolist() == [[-0.5, 0.5]]
    assert clip_to_epsilon(delta, torch.tensor([0.2])).tolist() == [pytest.approx([-0.2, 0.2])]


def test_momentum_of_a_row_does_not_depend_on_the_others() -> None:
    optimizer, gradients = Signs(0.1, 1.0), torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    _, together = optimizer.step(optimizer.begin(torch.zeros(3, 5)), gradients, 1)
    _, alone = optimizer.step(optimizer.begin(torch.zeros(1, 5)), 100 * gradients[[1]], 1)
    torch.testing.assert_close(together[[1]], alone)


def test_adam_is_that_of_torch() -> None:
    value = torch.zeros(2, 3, requires_grad=True)
    theirs = torch.optim.Adam([value], lr=0.1)
    optimizer, delta = Adam(0.1), torch.zeros(2, 3)
    memory = optimizer.begin(delta)
    for count in range(1, 4):
        gradient = torch.randn(2, 3, generator=torch.Generator().manual_seed(count))
        value.grad = -gradient
        theirs.step()
        change, memory = optimizer.step(memory, gradient, count)
        delta = delta + change
    torch.testing.assert_close(delta, value.detach())


@pytest.mark.parametrize("perturb", ["x_T", "maps"])
def test_gradients_against_finite_differences_and_each_other(perturb: Perturbed) -> None:
    preset = replace(PRESETS["sca-official"], perturb=perturb, strength=0.4, steps=5)
    sample = inverted(preset, count=4)
    delta = 0.1 * torch.randn(sample.unperturbed.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    wish = torch.randn(4, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    latents, pull = backprop(sample, delta)
    true = pull(wish)
    torch.testing.assert_close(latents, sample(delta))
    direction = torch.randn(delta.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    ahead, behind = (float((sample(delta + side * 1e-6 * direction) * wish).sum()) for side in (1, -1))
    assert (ahead - behind) / 2e-6 == pytest.approx(float((true * direction).sum()), rel=1e-5)

    same = identity(sample, delta)[1](wish)
    assert torch.equal(same, wish if perturb == "x_T" else wish[:, None].expand(-1, preset.steps, -1))
    whole = backprop(sample, delta, last=preset.steps)[1](wish)
    torch.testing.assert_close(whole, true)
    part = backprop(sample, delta, last=2)[1](wish)
    if perturb == "maps":
        torch.testing.assert_close(part[:, -2:], true[:, -2:])
    guessed = random_free(sample, delta, 200, Noise(0))[1](wish)
    for estimate in (same, part, guessed):
        assert torch.cosine_similarity(estimate.flatten(), true.flatten(), dim=0) > 0.5


@pytest.mark.parametrize("landing", [True, False])
def test_inversion_and_sampling_share_the_order_of_every_step(landing: bool) -> None:
    """The official code lowers the order of the last step in sampling alone."""
    preset = replace(PRESETS["sca-official"], landing=landing)
    sample = inverted(preset)
    clean = SMOOTH.sample(SAMPLES)
    assert (sample(sample.unperturbed) - clean).abs().max() < 1e-12
    assert isinstance(sample.inversion.solver, Multistep)
    noise = sample.inversion.solver.noise
    assert isinstance(noise, RecordedNoise)
    recorded = EditFriendly(replace(sde_dpmpp_2m(), lower_final=False), Noise(1))
    upper = invert(SMOOTH, clean, sample.inversion.grid, recorded, measure=False)
    assert isinstance(upper.solver, Multistep)
    mixed = replace(upper.solver, lower_final=True)
    lost = (integrate(SMOOTH, mixed, upper.x, upper.grid).x - clean).abs().max()
    assert lost > 1e-3
    assert (integrate(SMOOTH, upper.solver, upper.x, upper.grid).x - clean).abs().max() < 1e-12


def test_the_grid_of_the_official_code() -> None:
    labels = [LINEAR_BETAS.timestep(level) for level in grid(SMOOTH.schedule, PRESETS["sca-official"])]
    assert labels == pytest.approx([899, 799, 699, 599, 499, 400, 300, 200, 100, 1, 0], abs=1)  # it rounds them down


def test_eight_bits_are_what_a_file_keeps() -> None:
    colours = torch.tensor([-0.5, 0.0, 0.1234, 0.5, 1.0, 1.5])
    kept = eight_bits(colours)
    assert torch.equal(kept * 255, (kept * 255).round()) and kept.min() >= 0 and kept.max() <= 1
    assert (kept - colours.clamp(0, 1)).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(("direction", "blocked"), [(1.0, 1.5), (-1.0, -0.5)])
def test_gradients_pass_at_black_and_white_and_back_into_the_range(direction: float, blocked: float) -> None:
    colours = torch.tensor([-0.5, 0.0, 0.1234, 0.5, 1.0, 1.5], requires_grad=True)
    (direction * eight_bits(colours)).sum().backward()
    assert torch.equal(known(colours.grad), torch.where(colours == blocked, 0.0, direction))


def test_margins_and_losses() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0], [0.0, 1.0, 4.0]])
    away, towards = Goal(torch.tensor([0, 0]), False), Goal(torch.tensor([1, 2]), True)
    assert away.margin(logits).tolist() == [-2, 4] and towards.margin(logits).tolist() == [-2, 3]
    assert (towards.score(logits, "ce") < 0).all() and (away.score(logits, "ce") > 0).all()
    assert torch.equal(towards.score(logits, "margin"), towards.margin(logits))


@pytest.mark.parametrize("method", ["pgd", "mifgsm"])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("saturated", [False, True])
def test_the_pixels_of_torchattacks(method: str, targeted: bool, saturated: bool) -> None:
    """As shipped, in single precision, through a classifier that scales: every channel of every pixel is equal."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.GELU(), torch.nn.Flatten(), torch.nn.Linear(800, 5))
    target = ClassifierTarget("net", net.eval().requires_grad_(False), Preprocessing(12), numbered(5))
    pictures = (torch.rand(4, 3, 30, 30) * 255).round() / 255
    if saturated:
        pictures = pictures.round()
    labels = target(pictures).argmax(1)
    goal = Goal((labels + 1) % 5 if targeted else labels, targeted)
    make = {
        "pgd": partial(torchattacks.PGD, random_start=False),
        "mifgsm": partial(torchattacks.MIFGSM, decay=1.0),
    }[method]
    theirs = make(net, eps=8 / 255, alpha=2 / 255, steps=10)
    theirs.get_logits = lambda colours, *rest: target(colours)
    if targeted:
        theirs.set_mode_targeted_by_label(quiet=True)
    found = search(Pixels(pictures, PRESETS[method].epsilon), target, goal, PRESETS[method])
    assert torch.equal(found.pictures, (theirs(pictures, goal.labels) * 255).round() / 255)
    assert ((found.pictures - pictures).abs().amax((1, 2, 3)) * 255).round().eq(8).all()


@pytest.mark.parametrize(("epsilon", "steps"), [(0.03, 7), (8 / 255, 8), (0.5 / 255, 0), (7.999 / 255, 7), (1.0, 255)])
@pytest.mark.parametrize("rounds", [False, True])
def test_bounds_hold_after_eight_bits(epsilon: float, steps: int, rounds: bool) -> None:
    clean = torch.arange(256.0).repeat(1, 3, 2, 1) / 255
    space = Pixels(clean, epsilon, rounds)
    for sign in (-1, 1):
        moved = space.quantized(space.decode(torch.full_like(clean, sign * epsilon)))
        change = ((moved - clean) * 255).round().abs()
        assert change.max() == steps and (change / 255 <= epsilon + 1e-7).all()
        assert torch.equal((moved * 255).round() / 255, moved)


def test_gradients_pass_where_pixels_are_rounded() -> None:
    clean = torch.rand(1, 3, 4, 4)
    made = torch.full_like(clean, 0.0123, requires_grad=True)
    Pixels(clean, 0.1, rounds=True).decode(made).sum().backward()
    assert torch.equal(known(made.grad), torch.ones_like(clean))


@pytest.mark.parametrize(
    "preprocessing",
    [Preprocessing(12), Preprocessing(12, mode="bilinear"), Preprocessing(12, grey=True), Preprocessing(None)],
    ids=str,
)
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_gradients_pass_the_preprocessing_at_black_grey_and_white(value: float, preprocessing: Preprocessing) -> None:
    """Antialiasing and clamping leave no pixel that is seen without a gradient."""
    pictures = torch.full((1, 3, 30, 30), value, requires_grad=True)
    net = torch.nn.Flatten()
    target = ClassifierTarget("net", net, preprocessing, ())
    target.outputs_of(pictures).sum().backward()
    assert (known(pictures.grad) > 0).all()


def test_non_finite_gradients_count_as_none() -> None:
    def classify(colours: Tensor) -> Tensor:
        broken = (colours[:, :1] - colours[:, :1]).clamp(min=0).sqrt()
        return torch.stack([colours.sum((1, 2, 3)), broken.sum((1, 2, 3)) + 20], dim=1)

    clean = torch.full((1, 3, 4, 4), 0.5)
    found = search(Pixels(clean, 8 / 255), classify, Goal(torch.tensor([0]), False), PRESETS["pgd"])
    assert found.pictures.isfinite().all() and (found.pictures != clean).any()


def test_draws_of_a_random_classifier_are_averaged() -> None:
    """One draw of noise decides the gradient's sign in half of the cases; the mean of many is right."""

    def classify(colours: Tensor) -> Tensor:
        noise = 3 * torch.randn(len(colours), 3, 1, 1)
        return torch.stack([((1 + noise) * colours).sum((1, 2, 3)), torch.zeros(len(colours))], dim=1)

    torch.manual_seed(0)
    clean = torch.full((1, 3, 4, 4), 0.5)
    preset = replace(PRESETS["pgd"], iterations=1, loss="margin", eot=400)
    found = search(Pixels(clean, 8 / 255), classify, Goal(torch.tensor([0]), False), preset)
    assert (found.pictures < clean).all()
