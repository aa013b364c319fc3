"""Token store: a folder of tokenised sentences grouped into documents.

    store.json                    metadata; written last, so a store without it is unfinished
    vocab.txt | vocab.model       a copy of the vocabulary
    SPLIT-00000-of-00005.array_record   one document per record (see shards.py)
    SPLIT.documents.npy           int64 [documents + 1], index of the first sentence of each
    SPLIT.sentences.npy           uint32 [sentences], number of tokens in each
    SPLIT.unigrams.npy            int64 [vocabulary], count of each token

The splits are `train` and `held_out`. Word starts are not stored: `store.vocab.starts` gives
them for every token of the vocabulary.
"""

import functools
import hashlib
import json
from pathlib import Path

import numpy as np

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import parts, shards, vocabulary

FORMAT, VERSION = "bertgrow token store", 1


class Split:
    """One split of a store. The index is in memory; documents are read on demand."""

    def __init__(self, folder, name, meta, dtype):
        self.name, self.dtype = name, dtype
        self.files = [(folder / s["file"], s["documents"]) for s in meta["shards"]]
        self.shard_starts = np.cumsum([0, *(count for _, count in self.files)])
        self.documents = np.load(folder / f"{name}.documents.npy")  # [documents + 1]
        self.sentences = np.load(folder / f"{name}.sentences.npy", mmap_mode="r")
        self.unigrams = np.load(folder / f"{name}.unigrams.npy")  # [vocabulary]
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

            self._readers[number] = array_record_module.ArrayRecordReader(
                str(self.files[number][0]), "readahead_buffer_size:0,max_parallelism:0"
            )
        return self._readers[number]


class Store:
    """An open token store: `meta`, `hash`, `vocab`, and the splits `train` and `held_out`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.meta = _read_meta(self.folder)
        self.hash = self.meta["hash"]
        self._check_sizes()
        dtype = parts.id_type(self.meta["vocab"]["size"])
        for name in shards.SPLITS:
            setattr(self, name, Split(self.folder, name, self.meta["splits"][name], dtype))

    @functools.cached_property
    def tokenizer(self):
        about = self.meta["vocab"]
        tokenizer = vocabulary.load(self.folder / about["file"], cased=about["cased"])
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

    def _check_sizes(self):
        for name, about in self.meta["files"].items():
            path = self.folder / name
            size = f"{path.stat().st_size} bytes" if path.is_file() else "no file"
            if size != f"{about['bytes']} bytes":
                raise InputError(
                    f"{path}: {size}, expected {about['bytes']} bytes; prepare the store again"
                )


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


def content_hash(files):
    """Content hash of a store: sha256 over the checksums of its files."""
    text = json.dumps({name: about["sha256"] for name, about in sorted(files.items())})
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path):
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_meta(folder):
    path = folder / "store.json"
    if not path.is_file():
        raise InputError(
            f"{folder} is not a finished token store; make it with bertgrow prepare"
        )
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{path} is not JSON; prepare the store again") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise InputError(f"{path} does not describe a token store; give the folder of one")
    if meta["version"] != VERSION:
        raise InputError(
            f"{folder} has version {meta['version']}, expected {VERSION}; prepare it again"
        )
    return meta
