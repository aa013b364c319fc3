"""Standard output that cannot stop a command."""

import errno
import io
import os


class Tolerant(io.TextIOBase):
    """Passes text on to `stream` until a write fails, then drops the rest.

    So `bertgrow pretrain ... | head` trains to its end, and so does a run whose log fills a
    disk. `error` is the first failure, an `OSError`, or None. A closed pipe is no failure: its
    reader wanted no more.
    """

    def __init__(self, stream):
        self._stream = stream
        self.error = None

    def write(self, text):
        self._try(self._stream.write, text)
        return len(text)

    def flush(self):
        self._try(self._stream.flush)

    def _try(self, call, *args):
        try:
            call(*args)
        except OSError as error:
            self.error = None if error.errno == errno.EPIPE else error
            # The stream keeps what it could not write and tries again, also at exit.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)

    def isatty(self):
        return self._stream.isatty()

    def fileno(self):
        return self._stream.fileno()

    def writable(self):
        return True

    @property
    def encoding(self):
        return self._stream.encoding

    @property
    def errors(self):
        return self._stream.errors
