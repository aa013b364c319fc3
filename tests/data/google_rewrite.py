"""Reference implementation of Google's tokenizer, written from its description; slow."""

import unicodedata


def basic_tokens(text, lower):
    """Words and punctuation marks; CJK ideographs stand alone."""
    text = "".join(map(_cleaned, text))
    words = text.split()
    if lower:
        words = [_bare(word.lower()) for word in words]
    return [token for word in words for token in _split(word)]


def wordpieces(word, vocab, longest=200):
    """The longest match first, from the left; one [UNK] where that does not work out."""
    if len(word) > longest:
        return ["[UNK]"]
    tokens, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            token = ("##" if start else "") + word[start:end]
            if token in vocab:
                break
        else:
            return ["[UNK]"]
        tokens.append(token)
        start = end
    return tokens


def tokens(text, vocab, lower):
    return [token for word in basic_tokens(text, lower) for token in wordpieces(word, vocab)]


def _cleaned(letter):
    if letter in "\t\n\r" or unicodedata.category(letter) == "Zs":
        return " "
    if letter in "\0\ufffd" or unicodedata.category(letter) in ("Cc", "Cf"):
        return ""
    return f" {letter} " if _is_ideograph(ord(letter)) else letter


def _is_ideograph(code):
    blocks = (
        (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
        (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
    )  # fmt: skip
    return any(low <= code <= high for low, high in blocks)


def _bare(word):
    letters = unicodedata.normalize("NFD", word)
    return "".join(c for c in letters if unicodedata.category(c) != "Mn")


def _is_punctuation(letter):
    ascii_mark = letter.isascii() and letter.isprintable() and not letter.isalnum()
    return (ascii_mark and letter != " ") or unicodedata.category(letter).startswith("P")


def _split(word):
    words, inside = [], False
    for letter in word:
        if _is_punctuation(letter):
            words.append(letter)
            inside = False
        elif inside:
            words[-1] += letter
        else:
            words.append(letter)
            inside = True
    return words
