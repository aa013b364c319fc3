"""Training: the jitted step, the loop, optimizers, shardings and checkpoints.

The package is callable: `bertgrow.train(...)` is `bertgrow.api.train`, whose name it shares.
"""

import sys
import types


class _Callable(types.ModuleType):
    def __call__(self, *args, **options):
        from bertgrow import api

        return api.train(*args, **options)


sys.modules[__name__].__class__ = _Callable
