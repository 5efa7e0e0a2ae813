"""Reads prompts of the bundled model: the concept, the background, and words that mean nothing to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from fastdiff.models.captions import background, caption
from fastdiff.models.prompt_words import WORD
from fastdiff.models.recogniser import Labels

LINKS = ("a", "an", "on", "and", "background")  # the other words of the captions that the model was trained with
PLAIN, ORDERED = "plain", ("dotted",)  # kinds: of one colour, and those whose colours have an order
NEAR = 3  # known words that are named for an unknown one


@dataclass(frozen=True)
class Background:
    """A kind of background in one colour if it is plain, else in two."""

    kind: str
    colours: tuple[str, ...]

    @property
    def phrase(self) -> str:
        return background(self.kind, self.colours)

    def same_as(self, other: "Background") -> bool:
        """True if both look the same: the order of colours counts for dots alone, whose ground comes first."""
        if self.kind in ORDERED:
            return self == other
        return self.kind == other.kind and set(self.colours) == set(other.colours)


@dataclass(frozen=True)
class ScenePrompt:
    """What a prompt names; None for what it does not name.

    `unknown` are words without a meaning to the model where they stand. `unclear` is a sentence on a background that
    the model cannot show, such as stripes of one colour.
    """

    concept: str | None
    background: Background | None
    unknown: tuple[str, ...] = ()
    unclear: str | None = None


def parse(prompt: str, labels: Labels) -> ScenePrompt:
    """Read a prompt, such as `fox on a teal and white striped background`; the longest concept counts."""
    words = [match.group().casefold() for match in WORD.finditer(prompt)]
    concept, words = _without_concept(words, labels.concepts)
    colours = tuple(dict.fromkeys(word for word in words if word in labels.colours))
    kinds = [word for word in words if word in labels.kinds and word != PLAIN]
    unknown = tuple(dict.fromkeys(word for word in words if word not in (*LINKS, *labels.colours, *kinds)))
    if not colours and not kinds:
        return ScenePrompt(concept, None, unknown)
    described = Background(kinds[0] if kinds else PLAIN, colours)
    if len(kinds) <= 1 and len(colours) == (2 if kinds else 1):
        return ScenePrompt(concept, described, unknown)
    patterns = ", ".join(kind for kind in labels.kinds if kind != PLAIN)
    sentence = f"a background is of one colour, or of two colours and one of {patterns}"
    return ScenePrompt(concept, None, unknown, sentence)


def complete_prompt(wished: ScenePrompt, source: ScenePrompt) -> str | None:
    """Return the caption of a wished scene in which a concept or background that is not named stays as in the source.

    None if both are named or neither is, if the source does not name what is missing, or if some words are unknown.
    """
    concept, described = wished.concept or source.concept, wished.background or source.background
    partly = (wished.concept is None) != (wished.background is None)
    if not partly or wished.unknown or wished.unclear or concept is None or described is None:
        return None
    return caption(concept, described.kind, described.colours)


def near(word: str, labels: Labels) -> list[str]:
    """Return known words that are near an unknown one: those that hold it, or else those that are spelt alike."""
    known = (*labels.concepts, *labels.colours, *(kind for kind in labels.kinds if kind != PLAIN))
    holding = [each for each in known if word in each.split()]
    parts = {part: each for each in reversed(known) for part in (each, *each.split())}
    alike = [parts[each] for each in get_close_matches(word, parts, NEAR)]
    return list(dict.fromkeys(holding or alike))[:NEAR]


def complaint(prompt: ScenePrompt, labels: Labels) -> str | None:
    """Return one sentence on what the model does not understand of a prompt; None if that is nothing."""
    if prompt.unclear is not None and not prompt.unknown:
        return prompt.unclear
    if not prompt.unknown:
        return None
    found = []
    for word in prompt.unknown:
        others = near(word, labels)
        named = f" (near it: {', '.join(map(repr, others))})" if others else ""
        found.append(f"{word!r}{named}")
    noun = "word" if len(found) == 1 else "words"
    return f"the model does not know the {noun} {', '.join(found)}"


def _without_concept(words: Sequence[str], concepts: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the concept with the longest name among the words, and the words without its first mention."""
    best: tuple[int, int, str] | None = None
    for concept in concepts:
        parts = concept.casefold().split()
        for start in range(len(words) - len(parts) + 1):
            if list(words[start : start + len(parts)]) == parts and (best is None or len(concept) > len(best[2])):
                best = start, start + len(parts), concept
    if best is None:
        return None, list(words)
    return best[2], [*words[: best[0]], *words[best[1] :]]
