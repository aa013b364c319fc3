"""`bertgrow prepare` with many parts that take a while each, to be disturbed: a program."""

import os
import time

from process_table import start

from bertgrow import __main__
from bertgrow.data.corpus import chunks, parts

SECONDS = "SLOW_PREPARE_SECONDS"  # environment variable: of each part
VOCABULARY = ["--vocab-size", "300", "--vocab-kind", "wordpiece"]


def begin(corpus, folder, *options, seconds=0.05, **settings):
    """Starts this program as a process, see `process_table.start`."""
    os.environ[SECONDS] = str(seconds)
    words = ["prepare", "--input", corpus, "--output", folder, *VOCABULARY, *options]
    return start(__file__, *words, **settings)


def _slowly(part, path, write=parts.write):
    time.sleep(float(os.environ[SECONDS]))
    write(part, path)


if __name__ in ("__main__", "__mp_main__"):  # the process and its workers
    parts.write = _slowly
    chunks.CHARACTERS = 20_000
if __name__ == "__main__":
    __main__.start()
