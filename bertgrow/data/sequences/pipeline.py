"""Training and held-out batches, prefetched with Grain, each with the position after it.

Grain prefetches in a thread of this process or in worker processes. Its iterator state is not
saved: a stream resumes from the position alone.
"""

import os

import numpy as np

from bertgrow.core.errors import InputError
from bertgrow.data import workers as processes
from bertgrow.data.sequences import document_blocks
from bertgrow.data.sequences import streams as addressed

PREFETCHED = 4  # batches


class Batches:
    """Random-access source for Grain: batch number i after a position."""

    def __init__(self, stream, batch, position, rows=None, extra=None):
        self.stream, self.batch, self.position = stream, batch, position
        self.extra = extra
        self.rows = np.arange(batch) if rows is None else np.asarray(rows)
        self.known = 0, position  # the next batch number, and its position

    def __len__(self):
        return 2**40

    def __getitem__(self, number):
        start, position = self.known if self.known[0] <= number else (0, self.position)
        while start < number:  # skip the batches of other workers without reading
            _, position = self.stream.take(position, self.batch)
            start += 1
        addresses, after = self.stream.take(position, self.batch)
        self.known = number + 1, after
        sequences = self.stream.read([addresses[row] for row in self.rows])
        if self.extra is not None:
            sequences |= self.extra(position["row"] + self.rows)
        return {
            "batch": sequences,
            "row": np.int64(after["row"]),
            "cursors": np.array(after["cursors"], np.int64),
        }


def batches(stream, *, batch, position=None, rows=None, workers=0, extra=None):
    """Yields (batch, position after it) endlessly; `close` ends its threads and workers.

    Args:
      stream: a `streams.Stream`.
      batch: global batch size in sequences.
      position: start position; by default the first sequence.
      rows: numbers of the sequences of a global batch that this process reads, ascending
        (`sharding.process_rows`); None: all.
      workers: number of worker processes; 0 prefetches in a thread of this process.
      extra: function (numbers of sequences, int [count]) -> {name: array [count, ...]} that
        adds arrays for these sequences, such as `entries.Entries`.
    """
    check_enough(stream, batch)
    source = Batches(stream, batch, position or stream.start(), rows, extra)
    return _Iterator(_grain(source, workers))


class _Iterator:
    """Wraps a Grain iterator: yields (batch, position)."""

    def __init__(self, iterator):
        self._iterator = iterator

    def __iter__(self):
        return self

    def __next__(self):
        element = next(self._iterator)
        position = {"row": int(element["row"]), "cursors": element["cursors"].tolist()}
        return element["batch"], position

    def close(self):
        self._iterator.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def held_out(store, *, length, batch, kind="packed", limit=None):
    """Returns the held-out split as a list of batches, equal in every call.

    Documents and sequences keep their stored order. An incomplete last batch is dropped. A
    split smaller than one batch gives one batch, filled up with sequences of padding (whose
    first token is not [CLS]).

    Args:
      store: an open store.
      length: tokens per sequence.
      batch: batch size in sequences.
      kind: "packed" or "pairs".
      limit: maximum number of batches; None for all.
    """
    blocks = document_blocks.Corpus(
        store.held_out, seed=None, block_tokens=addressed.BLOCK_TOKENS
    )
    current, filled, full = None, 0, []
    for block in range(len(blocks.blocks(0))):
        number = len(blocks.plan(0, block, length, kind)[1])
        sequences = addressed.block_sequences(
            blocks, 0, block, np.arange(number), length, kind, store.vocab
        )
        sequences["ids"][:, 0] = block
        used = 0
        while used < number and (limit is None or len(full) < limit):
            if not filled:
                current = addressed.padding_batch(batch, length, kind, store.vocab)
            count = min(batch - filled, number - used)
            for name, array in sequences.items():
                current[name][filled : filled + count] = array[used : used + count]
            used, filled = used + count, (filled + count) % batch
            if not filled:
                full.append(current)
    if not full and not filled:
        raise InputError(
            f"the held-out split of {store.folder} gives no sequence of {kind}; prepare the "
            "store with a larger --held-out"
        )
    return full or [current]


def _grain(source, workers):
    import grain

    one_thread = grain.ReadOptions(num_threads=1, prefetch_buffer_size=PREFETCHED)
    data = grain.MapDataset.source(source).to_iter_dataset(one_thread)
    if workers:
        from absl import flags

        flags.FLAGS.mark_as_parsed()  # Grain reads an absl flag, and flags are not parsed here
        options = grain.MultiprocessingOptions(num_workers=workers)
        data = data.mp_prefetch(options, worker_init_fn=_WorkerInit(os.getpid()))
    return iter(data)


class _WorkerInit:
    def __init__(self, parent):
        self.parent = parent

    def __call__(self, *_):
        processes.die_with_parent(self.parent)


def check_enough(stream, batch):
    """Raises InputError if an epoch of a stream has fewer sequences than a batch."""
    tokens = sum(int(store.train.sizes.sum()) for store in stream.stores)
    if tokens > 4 * batch * stream.length:  # surely enough; avoids planning every block
        return
    sequences = stream.epoch_sequences()
    if sequences < batch:
        raise InputError(
            f"the corpus has {sequences} sequences of length {stream.length}, fewer than a "
            f"batch of {batch}; give more text or lower config.batch"
        )
