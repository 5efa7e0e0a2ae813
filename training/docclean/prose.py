"""Plain sentences about an office and its harbour town, for pages for people and OCR."""

import textwrap

import numpy as np

WHO = (
    "the clerk", "our gardener", "the harbour office", "a young teacher", "the museum", "my neighbour", "the baker",
    "the town council", "an old sailor", "the librarian", "a travelling painter", "the railway company", "the miller",
    "the post office", "a retired engineer", "the orchestra", "the weather station", "the printer", "every visitor",
)  # fmt: skip
DID = (
    "ordered", "repaired", "described", "measured", "collected", "counted", "returned", "photographed", "borrowed",
    "delivered", "painted", "sold", "exchanged", "registered", "unpacked", "examined", "found", "moved", "requested",
)  # fmt: skip
WHAT = (
    "two wooden boats", "a box of letters", "the new timetable", "some copper kettles", "the annual report",
    "a pair of brass scales", "several maps of the coast", "the garden fence", "a quiet room", "fresh bread",
    "the broken clock", "an umbrella", "thirty apple trees", "the northern lighthouse", "a list of questions",
    "the water pump", "seven glass jars", "a small violin", "the yellow curtains", "an unusual fossil",
)  # fmt: skip
HOW = (
    "before the winter", "with great care", "near the old bridge", "on a rainy afternoon", "for the summer market",
    "without any delay", "behind the station", "at the usual price", "in less than an hour", "after the concert",
    "along the river", "as agreed", "under the chestnut tree", "for the first time", "during the holidays",
    "by way of exchange", "quite by chance", "in the upper gallery", "just in time", "at the request of the mayor",
)  # fmt: skip
MONTHS = ("January", "March", "April", "June", "July", "August", "October", "December")
LINKS = ("and", "while", "because", "although", "so", "but", "after")


def sentence(rng: np.random.Generator) -> str:
    """Return one or two clauses, some dated or numbered."""
    text = _clause(rng)
    match rng.integers(5):
        case 0:
            text = f"on {rng.integers(1, 29)} {rng.choice(MONTHS)} {rng.integers(1890, 2020)}, {text}"
        case 1:
            text = f"{text} (see page {rng.integers(2, 400)})"
        case 2 | 3:
            text = f"{text}, {rng.choice(LINKS)} {_clause(rng)}"
    return f"{text[0].upper()}{text[1:]}."


def lines(rng: np.random.Generator, count: int, width: int) -> tuple[str, ...]:
    """Return `count` full lines of at most `width` characters; the last may end within a sentence."""
    sentences: list[str] = []
    filled: list[str] = []
    while len(filled) <= count:
        sentences.append(sentence(rng))
        filled = textwrap.wrap(" ".join(sentences), width)
    return tuple(filled[:count])


def _clause(rng: np.random.Generator) -> str:
    return f"{rng.choice(WHO)} {rng.choice(DID)} {rng.choice(WHAT)} {rng.choice(HOW)}"
