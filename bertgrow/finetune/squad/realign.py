"""Finds the text of an answer in the original words from its tokens."""

from bertgrow.data.corpus import vocabulary


def final_text(tokens, words, tokenizer):
    """The part of the original words that the tokens stand for.

    `get_final_text` of Google's code: the tokens are normalised ("ste ##ve smith"), and the
    words hold more than the answer ("Steve Smith's"). The letters of both are aligned without
    spaces. Where this fails the words are returned.

    Args:
      tokens: list of str, tokens of the answer.
      words: list of str, the words of the paragraph that they are part of.
      tokenizer: `bertgrow.data.corpus.vocabulary.Tokenizer`.
    """
    original = " ".join(words)
    if tokenizer.kind != "wordpiece":
        return original
    predicted = " ".join(" ".join(tokens).replace(" ##", "").replace("##", "").split())
    normalized = " ".join(vocabulary.basic_tokens(original, cased=tokenizer.cased))
    start = normalized.find(predicted)
    places, normal_places = _letters(original), _letters(normalized)
    if start < 0 or not predicted or len(places) != len(normal_places):
        return original
    number = {place: count for count, place in enumerate(normal_places)}
    first, last = number[start], number[start + len(predicted) - 1]
    return original[places[first] : places[last] + 1]


def _letters(text):
    """Places of the characters that are no spaces."""
    return [place for place, letter in enumerate(text) if letter != " "]
