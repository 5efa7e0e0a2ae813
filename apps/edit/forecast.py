"""Estimates the cost of edits before a model is loaded."""

from dataclasses import dataclass

from fastdiff.apps.edit.presets import steps_of
from fastdiff.apps.edit.settings import EditSettings
from fastdiff.inversion.edit_friendly import ROWS, EditFriendly
from fastdiff.inversion.registry import INVERTERS
from fastdiff.models.catalogue import describe, find
from fastdiff.solvers.registry import SOLVERS

SEARCHING = {"backward-euler": 8, "fixed-point": 8}  # measured calls per step; the other inverters take one
RATE = 5e10  # multiplications and additions a second in such networks, on two cores of a server processor
CODEC = 0.27  # multiplications and additions by pixel and parameter of an autoencoder: one encoding, two decodings
PROMPTS, PROMPT_TOKENS = 3, 120  # encoded prompts of an edit, and their tokens
LOADING, READING = 5.0, 3e8  # seconds for libraries, and bytes of weights a second
ALWAYS = 0.1  # seconds of an attempt besides the networks: files, measurements


@dataclass(frozen=True)
class Cost:
    """The cost of one edit."""

    calls: int  # of the network, each on all rows at once
    rows: int  # in all calls together


def cost(settings: EditSettings, *, masked: bool = False, paired: bool = True) -> Cost:
    """The cost of one edit, within a mask or without one.

    `paired` is False for a model without an unconditional estimate, whose network gets half of the rows. The calls are
    exact but for inversions that search, and those of solvers without a call in some step.
    """
    preset = settings.preset
    steps = steps_of(preset, preview=settings.preview and settings.solver_file is None)
    guided = 2 if paired and preset.source_guidance != 1 else 1
    solver = SOLVERS[preset.solver]() if preset.solver else None
    at_once = solver.stochastic if solver else isinstance(INVERTERS[preset.inversion](), EditFriendly)
    nfe_per_step = solver.nfe_per_step if solver else 1
    inverting = steps * (nfe_per_step if solver else SEARCHING.get(preset.inversion, 1))
    asks = (
        preset.cross_attention,
        preset.self_attention,
        preset.focus,
        masked,
        settings.blend,
        settings.emphasize,
        settings.release,
    )
    rows = (2 if any(asks) else 1) * (2 if paired and (preset.source_guidance, preset.guidance) != (1, 1) else 1)
    sampling, inverted_in = steps * nfe_per_step, -(-steps // ROWS) if at_once else inverting
    return Cost(inverted_in + sampling, inverting * guided + sampling * rows)


def seconds(model: str, rows: int, edits: int, attempts: int) -> float | None:
    """Estimate the seconds for edits of so many attempts, each with `rows` rows through the network, on a CPU.

    The time to load the model is part of it. Returns None if the model's files do not tell its size. Raises UsageError
    and MissingError as `find` and `describe` do.
    """
    if edits == 0:
        return 0.0
    description = describe(find(model))
    if description.work is None or description.resolution is None:
        return None
    parts = description.networks
    autoencoder = parts["vae"].numbers if "vae" in parts else 0
    encoders = sum(weights.numbers for part, weights in parts.items() if part.startswith("text_encoder"))
    attempt = 2 * rows * description.work
    once = 2 * PROMPTS * PROMPT_TOKENS * encoders + CODEC * autoencoder * description.resolution**2
    each = once / RATE + attempts * (attempt / RATE + ALWAYS)
    return LOADING + sum(weights.size for weights in parts.values()) / READING + edits * each
