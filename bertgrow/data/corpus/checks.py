"""Warnings about text and vocabularies from which nothing useful can be learned."""

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import parts, progress, vocabulary_training

LONGEST_MEAN_WORD = 40  # characters a word; English has 6, German 7
LONG_LINES = 0.01  # fraction of the characters that may be in long lines
LANGUAGES = (  # for which the sentence splitter has rules; it takes others by a related one
    "am", "ar", "bg", "bn", "ca", "da", "de", "el", "en", "es", "fi", "fr", "gu", "hi", "hy",
    "it", "ja", "kk", "kn", "ml", "mr", "my", "nl", "pa", "pl", "pt", "ru", "sk", "ta", "te",
    "uk",
)  # fmt: skip


class Warnings:
    """Prints warnings on stderr and keeps them in `messages`; with `strict` they are errors."""

    def __init__(self, strict):
        self.strict, self.messages = strict, []

    def __call__(self, message):
        if self.strict:
            raise InputError(f"{message}; without --strict this is a warning")
        progress.log(f"warning: {message}")
        self.messages.append(message)


def check_language(language, warn):
    if language not in LANGUAGES:
        warn(
            f"--language {language}: the sentence splitter has no rules for it and uses those "
            f"of a related language, or of English; it has {' '.join(LANGUAGES)}"
        )


def check_vocabulary(tokenizer, name, warn):
    """Checks a vocabulary that was given."""
    if tokenizer.vocab.size < vocabulary_training.FEWEST:
        raise InputError(
            f"{name} has {tokenizer.vocab.size} tokens, expected at least "
            f"{vocabulary_training.FEWEST}; give a whole vocabulary"
        )
    if tokenizer.appended:
        warn(f"{name} has no {' '.join(tokenizer.appended)}; appended to its tokens")


def check_trained(tokenizer, size, warn):
    """Checks a vocabulary of which `size` tokens were expected."""
    check_vocabulary(tokenizer, f"the vocabulary trained with --vocab-size {size}", warn)
    if tokenizer.vocab.size < size / 2:
        warn(
            f"the text gave a vocabulary of {tokenizer.vocab.size:,} tokens, expected "
            f"{size:,}; give more text or a lower --vocab-size"
        )


def check_text(counts, warn):
    """Checks the `parts.Counts` of all text."""
    words, characters = max(1, counts.words), max(1, counts.characters)
    if characters / words > LONGEST_MEAN_WORD:
        warn(
            f"a word of the text has {characters / words:,.0f} characters on average; expected "
            "words between spaces"
        )
    if counts.in_long_lines / characters > LONG_LINES:
        warn(
            f"{counts.in_long_lines / characters:.0%} of the text is in lines of more than "
            f"{parts.LONG_LINE:,} characters; expected one paragraph or sentence per line"
        )
