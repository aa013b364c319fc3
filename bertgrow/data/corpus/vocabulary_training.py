"""Trains a vocabulary on sample sentences. Equal sentences give equal bytes."""

import collections
import io

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import vocabulary

KINDS = ("unigram", "bpe", "wordpiece")
FEWEST, MOST = 64, 2**20  # tokens in a vocabulary
COVERAGE = 0.9995  # fraction of the characters that are in the vocabulary; others are [UNK]
THREADS = 4  # fixed: float sums depend on it, so the number of cores would change results


def train(sentences, *, size, kind="unigram", cased=False):
    """Trains a vocabulary of `size` tokens; [PAD] [UNK] [CLS] [SEP] [MASK] are 0 to 4.

    Args:
      sentences: list of str. The result depends on their order, so pass a fixed order.
      size: number of tokens in the vocabulary; a small sample may give fewer.
      kind: "unigram" (Kudo, 2018) or "bpe" by SentencePiece, or "wordpiece".
      cased: whether to keep upper case and accents.
    """
    check_options(size, kind)
    if kind == "wordpiece":
        return _wordpiece(sentences, size, cased)
    return _sentencepiece(sentences, size, kind, cased)


def check_options(size, kind):
    """Raises an `InputError` for a size or kind that cannot be trained."""
    if kind not in KINDS:
        raise InputError(f"--vocab-kind {kind}: expected one of {', '.join(KINDS)}")
    if not FEWEST <= size <= MOST:
        raise InputError(f"--vocab-size {size}: expected {FEWEST} to {MOST:,} tokens")


def _sentencepiece(sentences, size, kind, cased):
    import sentencepiece as sp

    model = io.BytesIO()
    pad, unk, cls, sep, mask = vocabulary.SPECIAL
    try:
        sp.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type=kind,
            vocab_size=size,
            hard_vocab_limit=False,
            normalization_rule_name="nmt_nfkc" if cased else "nmt_nfkc_cf",
            character_coverage=COVERAGE,
            pad_id=0, pad_piece=pad,
            unk_id=1, unk_piece=unk,
            bos_id=2, bos_piece=cls,
            eos_id=3, eos_piece=sep,
            control_symbols=[mask],
            num_threads=THREADS,
            minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        # `Internal: FILE(LINE) [CONDITION] reason`; the reason may be empty
        reason = str(error).partition("\n")[0].rpartition("] ")[2].strip(" .")
        reason = reason or "it has no sentences of usual length"
        raise InputError(
            f"--vocab-size {size} does not suit this text: {reason}; expected words between "
            "spaces, and one sentence or paragraph per line"
        ) from None
    return vocabulary.sentencepiece(model.getvalue())


def _wordpiece(sentences, size, cased):
    """Trains WordPiece with `tokenizers`, deterministically.

    The trainer of `tokenizers` numbers the single-letter tokens "##x" in the order of a hash
    table with a random seed, and breaks ties between merges by these numbers. This function
    passes all letters in sorted order, so the result is always the same.
    """
    import tokenizers

    normalizer = tokenizers.normalizers.BertNormalizer(lowercase=not cased)
    splitter = tokenizers.pre_tokenizers.BertPreTokenizer()
    words = collections.Counter()
    for sentence in sentences:
        words.update(
            word
            for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(sentence))
            if len(word) <= vocabulary.LONGEST_WORD
        )
    letters, inner = _alphabet(words, room=(size - len(vocabulary.SPECIAL)) // 4)
    first = [*vocabulary.SPECIAL, *(f"##{letter}" for letter in inner)]
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=first,
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(_repeated(words), trainer)
    table = tokenizer.get_vocab(with_added_tokens=False)
    tokens = dict.fromkeys(
        [*vocabulary.SPECIAL, *letters, *first, *sorted(table, key=table.get)]
    )
    return vocabulary.wordpiece("".join(f"{token}\n" for token in tokens).encode(), cased=cased)


def _alphabet(words, room):
    """Returns the letters of the vocabulary, and those that also occur inside a word."""
    letters, inner = collections.Counter(), set()
    for word, count in words.items():
        for letter in word:
            letters[letter] += count
        inner.update(word[1:])
    ranked = sorted(letters, key=lambda letter: (-letters[letter], letter))
    chosen, covered, total = [], 0, letters.total()
    for letter in ranked[:room]:
        if covered >= COVERAGE * total:
            break
        chosen.append(letter)
        covered += letters[letter]
    return sorted(chosen), sorted(inner & set(chosen))


def _repeated(words):
    """Yields lines of text in which each word occurs as often as its count."""
    for word, count in sorted(words.items()):
        for start in range(0, count, 1000):
            yield " ".join([word] * min(1000, count - start))
