"""Training a vocabulary on a sample of sentences: the same sentences give the same bytes."""

import collections
import io

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import vocabulary

KINDS = ("unigram", "bpe", "wordpiece")
COVERAGE = 0.9995  # share of the characters of the sample that get a piece; the rest is [UNK]
THREADS = 4  # sums of floats depend on their number, so it is not the number of cores


def train(sentences, *, size, kind="unigram", cased=False):
    """A vocabulary of `size` pieces; [PAD] [UNK] [CLS] [SEP] [MASK] are 0 to 4.

    Args:
      sentences: list of str; their order counts, so sort it.
      size: number of pieces; few sentences may give fewer.
      kind: "unigram" (Kudo, 2018) or "bpe" by SentencePiece, or "wordpiece".
      cased: keep upper case and accents.
    """
    if kind not in KINDS:
        raise InputError(f"--vocab-kind {kind}: expected one of {', '.join(KINDS)}")
    if size < 64:
        raise InputError(f"--vocab-size {size}: expected at least 64 pieces")
    if kind == "wordpiece":
        return _wordpiece(sentences, size, cased)
    return _sentencepiece(sentences, size, kind, cased)


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
        line = str(error).splitlines()[0]
        raise InputError(f"--vocab-size {size} does not suit this text: {line}") from None
    return vocabulary.sentencepiece(model.getvalue())


def _wordpiece(sentences, size, cased):
    """WordPiece by `tokenizers`, made deterministic.

    Its trainer numbers the pieces "##x" of single letters in the order of a hash table with
    a random seed, and ties between merges follow those numbers. Naming all letters
    beforehand, sorted, leaves nothing to chance.
    """
    import tokenizers

    normalizer = tokenizers.normalizers.BertNormalizer(lowercase=not cased)
    splitter = tokenizers.pre_tokenizers.BertPreTokenizer()
    words = collections.Counter()
    for sentence in sentences:
        words.update(
            w for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(sentence))
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
    pieces = dict.fromkeys(
        [*vocabulary.SPECIAL, *letters, *first, *sorted(table, key=table.get)]
    )
    return vocabulary.wordpiece("".join(f"{p}\n" for p in pieces).encode(), cased=cased)


def _alphabet(words, room):
    """The letters that deserve a piece, and those of them that also stand inside a word."""
    letters, inner = collections.Counter(), set()
    for word, count in words.items():
        for letter in word:
            letters[letter] += count
        inner.update(word[1:])
    ranked = sorted(letters, key=lambda letter: (-letters[letter], letter))
    wanted, seen, total = [], 0, letters.total()
    for letter in ranked[:room]:
        if seen >= COVERAGE * total:
            break
        wanted.append(letter)
        seen += letters[letter]
    return sorted(wanted), sorted(inner & set(wanted))


def _repeated(words):
    """The words as lines of text, each as often as it was counted."""
    for word, count in sorted(words.items()):
        for start in range(0, count, 1000):
            yield " ".join([word] * min(1000, count - start))
