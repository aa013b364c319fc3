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

AHEAD = 4  # prefetched batches


class Batches:
    """Random-access source for Grain: batch number i after a position."""

    def __init__(self, stream, batch, position, hosts, host, beside=None):
        self.stream, self.batch, self.position = stream, batch, position
        self.beside = beside
        self.mine = addressed.host_rows(batch, hosts, host)
        self.known = 0, position  # the next batch number, and its position

    def __len__(self):
        return 2**40

    def __getitem__(self, number):
        at, position = self.known if self.known[0] <= number else (0, self.position)
        while at < number:  # skip the batches of other workers without reading
            _, position = self.stream.take(position, self.batch)
            at += 1
        addresses, after = self.stream.take(position, self.batch)
        self.known = number + 1, after
        rows = self.stream.rows(addresses[self.mine])
        if self.beside is not None:
            count = self.mine.stop - self.mine.start
            rows |= self.beside(position["row"] + self.mine.start, count)
        return {
            "batch": rows,
            "row": np.int64(after["row"]),
            "cursors": np.array(after["cursors"], np.int64),
        }


def batches(stream, *, batch, position=None, hosts=1, host=0, workers=0, beside=None):
    """Yields (batch, position after it) endlessly; `close` ends its threads and workers.

    Args:
      stream: a `streams.Stream`.
      batch: global batch size in sequences.
      position: start position; by default the first sequence.
      hosts, host: number of hosts and index of this one, which makes only its slice of
        every global batch.
      workers: number of worker processes; 0 prefetches in a thread of this process.
      beside: function (number of a sequence, count) -> {name: array [count, ...]} that adds
        arrays for the sequences from that number on, such as `entries.Entries`.
    """
    _check_enough(stream, batch)
    source = Batches(stream, batch, position or stream.start(), hosts, host, beside)
    return _Iterator(_grain(source, workers))


class _Iterator:
    """Wraps a Grain iterator: yields (batch, position)."""

    def __init__(self, found):
        self._found = found

    def __iter__(self):
        return self

    def __next__(self):
        element = next(self._found)
        position = {"row": int(element["row"]), "cursors": element["cursors"].tolist()}
        return element["batch"], position

    def close(self):
        self._found.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def held_out(store, *, length, rows, kind="packed", limit=None):
    """Returns the held-out split as a list of batches, equal in every call.

    Documents and sequences keep their stored order. An incomplete last batch is dropped. A
    split smaller than one batch gives one batch, filled up with sequences of padding (whose
    first token is not [CLS]).

    Args:
      store: an open store.
      length: tokens per sequence.
      rows: batch size in sequences.
      kind: "packed" or "pairs".
      limit: maximum number of batches; None for all.
    """
    blocks = document_blocks.Corpus(
        store.held_out, seed=None, block_tokens=addressed.BLOCK_TOKENS
    )
    batch, filled, found = None, 0, []
    for block in range(len(blocks.blocks(0))):
        number = len(blocks.plan(0, block, length, kind)[1])
        some = addressed.block_rows(
            blocks, 0, block, np.arange(number), length, kind, store.vocab
        )
        some["ids"][:, 0] = block
        used = 0
        while used < number and (limit is None or len(found) < limit):
            if not filled:
                batch = addressed.empty(rows, length, kind, store.vocab)
            count = min(rows - filled, number - used)
            for name, array in some.items():
                batch[name][filled : filled + count] = array[used : used + count]
            used, filled = used + count, (filled + count) % rows
            if not filled:
                found.append(batch)
    if not found and not filled:
        raise InputError(
            f"the held-out split of {store.folder} gives no row of {kind}; prepare the store "
            "with a larger --held-out"
        )
    return found or [batch]


def _grain(source, workers):
    import grain

    one_thread = grain.ReadOptions(num_threads=1, prefetch_buffer_size=AHEAD)
    data = grain.MapDataset.source(source).to_iter_dataset(one_thread)
    if workers:
        from absl import flags

        flags.FLAGS.mark_as_parsed()  # Grain reads an absl flag, and flags are not parsed here
        options = grain.MultiprocessingOptions(num_workers=workers)
        data = data.mp_prefetch(options, worker_init_fn=_Begin(os.getpid()))
    return iter(data)


class _Begin:
    def __init__(self, parent):
        self.parent = parent

    def __call__(self, *_):
        processes.die_with_parent(self.parent)


def _check_enough(stream, batch):
    tokens = sum(int(store.train.sizes.sum()) for store in stream.stores)
    if tokens > 4 * batch * stream.length:  # surely enough; avoids planning every block
        return
    rows = stream.epoch_rows()
    if rows < batch:
        raise InputError(
            f"the corpus has {rows} rows of length {stream.length}, fewer than a batch of "
            f"{batch}; give more text or a smaller batch"
        )
