"""Pre-train BERT-like encoders in stages that start cheap and grow.

The public functions are `load`, `train`, `plan`, `compare` and `report` (docs/api.md). They are
loaded when they are used, because JAX takes time to import.
"""

import importlib

__version__ = "0.1.0"
__all__ = ["compare", "load", "plan", "report", "train"]


def __getattr__(name):
    if name == "train":  # a package of the same name, which is callable
        return importlib.import_module("bertgrow.train")
    if name in __all__:
        return getattr(importlib.import_module("bertgrow.api"), name)
    raise AttributeError(f"module 'bertgrow' has no attribute {name!r}")


def __dir__():
    return [*__all__, "__version__"]
