"""Attack methods by name: perturbation space, gradient estimator, step and epsilon. Imports no torch."""

from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal, get_args

from fastdiff.solvers.errors import UsageError

Perturbed = Literal["x_T", "x_k", "maps", "pixels", "texture", "curves"]
Gradient = Literal["identity", "rgf", "backprop", "backprop-last-k"]
Loss = Literal["ce", "margin"]
PERTURBED, GRADIENTS, LOSSES = get_args(Perturbed), get_args(Gradient), get_args(Loss)
WITHOUT_PRIOR = ("pixels", "texture", "curves")
RANGES = (  # of numbers in a preset, from and to
    ("steps", 1, 1000),
    ("strength", 0.01, 1),
    ("guidance", 0, 100),
    ("iterations", 0, 10_000),
    ("step", 0, 100),
    ("epsilon", 0, 100),
    ("momentum", 0, 1),
    ("confidence", 0, 1000),
    ("eot", 1, 1000),
)


@dataclass(frozen=True)
class Preset:
    """The settings of an attack.

    `epsilon` and `step` are in units of the perturbed values: latents have about unit variance, pixels are in [0, 1],
    `texture` perturbs them in units of the standard deviation of the colours around each pixel, and `curves` perturbs
    the logarithms of the exponents of tone curves. Raises UsageError for numbers outside RANGES.
    """

    perturb: Perturbed
    gradient: Gradient = "identity"
    inversion: Literal["ledits", "ddim"] = "ledits"  # of `fastdiff.inversion.registry.INVERTERS`
    steps: int = 10  # of inversion and sampling, one network call each
    strength: float = 0.9  # the time at which the inversion ends, as a fraction of the schedule's
    landing: bool = False  # whether the last step is one training timestep long
    enter: float = 0.5  # the position of x_k, as a fraction of the steps
    guidance: float = 1.0
    loss: Loss = "ce"
    iterations: int = 10
    step: float = 0.04
    epsilon: float | None = 0.1  # largest change of an element; None is unbounded
    momentum: float = 1.0
    channel_balance: float = 0.0  # 0: latent channels move equally far, 1: they change pixels equally
    confidence: float = 0.02  # margin in logits that counts as success; rounding in other batch sizes is smaller
    adam: bool = False  # whether Adam replaces the momentum sign step
    early_stop: bool = False  # after the first success and refinement; otherwise the last iterate is the result
    refine: int = 0  # iterations after the first success; each success sets epsilon to `shrink` times the reached one
    shrink: float = 0.7
    last: int = 2  # steps that backprop-last-k goes through
    queries: int = 10  # samples of the random gradient-free estimate
    eot: int = (
        1  # draws of a random classifier that gradients are averaged over (Athalye et al. 2018, arXiv 1802.00420)
    )
    diversity: float = 0.0  # probability that gradients are taken of pictures shrunk and padded at random
    translation: float = 0.0  # standard deviation in pixels by which gradients of `texture` are smoothed
    distraction: float = 0.0  # weight of the variance of cross-attention to the caption, to be lowered
    structure: float = 0.0  # weight of the change of self-attention, to be lowered
    scale: float = 1.0  # weight of the loss against those two

    def __post_init__(self) -> None:
        for name, low, high in RANGES:
            check_range(name, getattr(self, name), low, high)

    @property
    def uses_prior(self) -> bool:
        """True if latents of a diffusion prior are perturbed."""
        return self.perturb not in WITHOUT_PRIOR


def check_range(name: str, value: float | None, low: float, high: float) -> None:
    """Raise UsageError unless the value is None, or finite and within the range."""
    if value is not None and not (isfinite(value) and low <= value <= high):
        raise UsageError(f"{name} of {value}: from {low} to {high}")


SCA = Preset("x_T", landing=True, guidance=4.5)  # Pan et al. 2024, arXiv 2410.02240, as its code has it
PGD = Preset("pixels", iterations=10, step=2 / 255, epsilon=8 / 255, momentum=0.0)  # Madry et al. 2018
PRESETS = {
    "natural": Preset(
        "x_k",
        steps=4,
        strength=0.5,
        iterations=40,
        step=0.04,
        epsilon=0.3,
        channel_balance=0.5,
        confidence=5.0,
        early_stop=True,
        refine=4,
    ),
    "transfer": Preset("texture", step=0.1, epsilon=0.5, diversity=0.7, translation=1.0),
    "semantic": Preset("curves", iterations=15, step=0.09, epsilon=0.45, diversity=0.7),
    "sca-official": SCA,
    "sca-strong": replace(SCA, strength=0.5),
    "diffattack": Preset(  # Chen et al. 2024, arXiv 2305.08192
        "x_T",
        gradient="backprop",
        inversion="ddim",
        steps=5,
        strength=0.25,
        guidance=2.5,
        iterations=30,
        step=0.01,
        epsilon=None,
        adam=True,
        distraction=10_000.0,
        structure=100.0,
        scale=10.0,
    ),
    "pgd": PGD,
    "mifgsm": replace(PGD, momentum=1.0),  # Dong et al. 2018, arXiv 1710.06081
}
DEFAULT = "natural"
