"""Token store: a folder of tokenised sentences grouped into documents.

    store.json                    metadata; written last, so a store without it is unfinished
    vocab.txt | vocab.model       a copy of the vocabulary
    SPLIT-00000-of-00005.array_record   one document per record (see shards.py)
    SPLIT.documents.npy           int64 [documents + 1], index of the first sentence of each
    SPLIT.sentences.npy           uint32 [sentences], number of tokens in each
    SPLIT.unigrams.npy            int64 [vocabulary], count of each token

The splits are `train` and `held_out`. Word starts are not stored: `store.vocab.starts` gives
them for every token of the vocabulary. `store.json` has a sha256 of every file. Opening a store
compares those of the small files; a shard is compared when it is first read.
"""

import functools
from pathlib import Path

import numpy as np

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import metadata, parts, shards, vocabulary


class Split:
    """One split of a store. The index is in memory; documents are read on demand."""

    def __init__(self, folder, name, meta):
        about, files, vocab_size = meta["splits"][name], meta["files"], meta["vocab"]["size"]
        names = [shard["file"] for shard in about["shards"]]
        self.name, self.dtype = name, parts.id_type(vocab_size)
        self.shards = [(folder / file, files[file]) for file in names]
        self.shard_starts = np.cumsum([0, *(shard["documents"] for shard in about["shards"])])

        def index(kind, dtype, size, mmap_mode=None):
            file = f"{name}.{kind}.npy"
            return _index(folder / file, files[file], dtype, size, mmap_mode)

        self.documents = index("documents", "<i8", about["documents"] + 1)
        self.sentences = index("sentences", "<u4", about["sentences"], "r")
        self.unigrams = index("unigrams", "<i8", vocab_size)
        self._readers = {}

    def __len__(self):
        return len(self.documents) - 1

    def __getstate__(self):
        return {**self.__dict__, "_readers": {}}  # readers cannot be pickled

    @functools.cached_property
    def sizes(self):
        """int64 [documents], number of tokens in each."""
        ends = np.concatenate([[0], np.cumsum(self.sentences, dtype=np.int64)])
        return np.diff(ends[self.documents])

    def read(self, documents):
        """Reads the token ids of documents; returns a list of arrays in the given order."""
        documents = np.asarray(documents, np.int64)
        tokens = [None] * len(documents)
        shard = np.searchsorted(self.shard_starts, documents, side="right") - 1
        for number in np.unique(shard):
            indices = np.flatnonzero(shard == number)
            inside = documents[indices] - self.shard_starts[number]
            for index, record in zip(
                indices, self._reader(number).read(inside.tolist()), strict=True
            ):
                sentences = int.from_bytes(record[:4], "little")
                tokens[index] = np.frombuffer(record, self.dtype, offset=4 * (1 + sentences))
        return tokens

    def _reader(self, number):
        if number not in self._readers:
            from array_record.python import array_record_module

            path, about = self.shards[number]
            metadata.check_content(path, about)
            self._readers[number] = array_record_module.ArrayRecordReader(
                str(path), "readahead_buffer_size:0,max_parallelism:0"
            )
        return self._readers[number]


class Store:
    """An open token store: `meta`, `hash`, `vocab`, and the splits `train` and `held_out`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.meta = metadata.load(self.folder)
        self.hash = self.meta["hash"]
        try:
            for name, about in self.meta["files"].items():
                metadata.check_size(self.folder / name, about)
            self.train, self.held_out = (
                Split(self.folder, name, self.meta) for name in shards.SPLITS
            )
        except KeyError as error:
            raise InputError(
                f"{self.folder}/store.json names no file {error}; {metadata.HINT}"
            ) from None

    @functools.cached_property
    def tokenizer(self):
        about = self.meta["vocab"]
        path = self.folder / about["file"]
        metadata.check_content(path, self.meta["files"][about["file"]])
        tokenizer = vocabulary.load(path, cased=about["cased"])
        if tokenizer.hash != about["hash"]:
            raise InputError(
                f"{self.folder}: its vocabulary has hash {tokenizer.hash[:12]}, the tokens "
                f"were made with {about['hash'][:12]}; prepare the store again"
            )
        return tokenizer

    @property
    def vocab(self):
        return self.tokenizer.vocab._replace(hash=self.meta["vocab"]["hash"])

    def __getstate__(self):
        # A tokenizer cannot be pickled; other processes load it again when they need it.
        return {key: value for key, value in self.__dict__.items() if key != "tokenizer"}


def verify(folder):
    """Checks all files of a store; yields (name, bytes) of each file that is intact.

    Raises:
      InputError: the first file that is damaged or missing.
    """
    store = Store(folder)
    for name, about in sorted(store.meta["files"].items()):
        metadata.check_content(store.folder / name, about)
        yield name, about["bytes"]
    store.vocab  # noqa: B018 - checks that the tokens were made with this vocabulary


def _index(path, about, dtype, size, mmap_mode):
    """Loads an index file, an array [size]; InputError if it is damaged."""
    metadata.check_content(path, about)
    try:
        array = np.load(path, mmap_mode, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{path} is no array: {error}; {metadata.HINT}") from None
    if array.dtype != dtype or array.shape != (size,):
        raise InputError(
            f"{path} has {array.dtype} {list(array.shape)}, expected {np.dtype(dtype)} "
            f"{[size]}; {metadata.HINT}"
        )
    return array


def unigram_cross_entropy(store):
    """Cross-entropy of a unigram model, in nats per held-out token.

    The unigram model uses the token frequencies of the training split with add-one smoothing.
    It is the loss of a model that ignores context. Special tokens are excluded from both
    splits, because they are never masked.
    """
    ordinary = ~store.vocab.special
    counts = store.train.unigrams[ordinary] + 1
    held_out = store.held_out.unigrams[ordinary]
    return float(-(held_out * np.log(counts / counts.sum())).sum() / held_out.sum())
