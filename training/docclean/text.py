"""Text like that of office and archive pages: Zipf words, numbers, dates, prices, addresses, headings."""

import numpy as np
from wordfreq import top_n_list, word_frequency


class Writer:
    """Draws text from a generator; the same seed gives the same text."""

    def __init__(self, vocabulary: int = 20_000):
        words = [word for word in top_n_list("en", vocabulary) if word.isascii()]
        weights = np.array([word_frequency(word, "en") for word in words]) ** 0.75  # rarer words than in speech
        self.words = words
        self.weights = np.cumsum(weights / weights.sum())

    def word(self, rng: np.random.Generator) -> str:
        return self.words[min(int(np.searchsorted(self.weights, rng.random())), len(self.words) - 1)]

    def token(self, rng: np.random.Generator) -> str:
        """Return a word, or sometimes another token."""
        kind = rng.random()
        if kind < 0.9:
            return self.word(rng)
        n = int(rng.integers(1, 10_000))
        return str(
            rng.choice(
                [
                    f"{n}", f"{n / 100:.2f}", f"${n / 100:.2f}", f"{n % 28 + 1}.{n % 12 + 1}.{1900 + n % 125}",
                    f"{n % 28 + 1}/{n % 12 + 1}/{n % 100:02d}", f"({n % 10})", f"{n % 100}%", f"No. {n}",
                    f"{self.word(rng)}@{self.word(rng)}.org", f"{self.word(rng)}-{self.word(rng)}",
                    f'"{self.word(rng)}"', self.word(rng).upper(), f"{n % 24}:{n % 60:02d}", f"x = {n % 10} + y",
                ]
            )
        )  # fmt: skip

    def sentence(self, rng: np.random.Generator) -> str:
        words = [self.token(rng) for _ in range(rng.integers(4, 18))]
        if rng.random() < 0.5 and len(words) > 6:
            words[int(rng.integers(2, len(words) - 2))] += rng.choice([",", ";", ":", " -"])
        return words[0].capitalize() + " " + " ".join(words[1:]) + rng.choice([".", ".", ".", "?", "!"])

    def heading(self, rng: np.random.Generator) -> str:
        words = " ".join(self.word(rng) for _ in range(rng.integers(1, 6)))
        return words.upper() if rng.random() < 0.5 else words.title()

    def paragraph(self, rng: np.random.Generator, sentences: int) -> str:
        return " ".join(self.sentence(rng) for _ in range(sentences))
