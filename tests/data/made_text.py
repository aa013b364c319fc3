"""Generated English-like text, deterministic for a seed."""

import itertools
import random

SYLLABLES = [a + b for a, b in itertools.product("bdfgklmnprstvz", ["a", "e", "in", "o", "ur"])]


def make_text(documents, *, seed=0):
    """Documents of 1 to 40 sentences, three a line, with a blank line between documents."""
    draw = random.Random(seed)
    words = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 3))) for _ in range(600)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    texts = []
    for _ in range(documents):
        sentences = [
            " ".join(draw.choices(words, weights, k=draw.randint(2, 30))).capitalize() + "."
            for _ in range(draw.randint(1, 40))
        ]
        lines = [" ".join(sentences[i : i + 3]) for i in range(0, len(sentences), 3)]
        texts.append("\n".join(lines))
    return "\n\n".join(texts) + "\n"
