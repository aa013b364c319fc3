"""The section `transfer` of a recipe: the teacher, and how its knowledge is weighed."""

from dataclasses import dataclass

from bertgrow.errors import InputError
from mobilebert import activations, copying, tasks, transfer

CHOICES = {
    "teacher_dtype": ("float32", "bfloat16"),
    "features": ("split", "plain"),
    "tokens": ("real", "all"),
    "embedding_norm": copying.NORMS,
    "cache_dtype": ("float32", "bfloat16", "float16"),
}


@dataclass(frozen=True)
class TransferConfig:
    """Published weights and choices, unless told otherwise (reference in docs/distill.md)."""

    teacher: str = ""  # a working directory; empty: the stage before teaches
    teacher_dtype: str = "float32"  # float32 | bfloat16, in which its weights are kept
    hidden: float = 100.0
    attention: float = 1.0
    mean: float = 5000.0
    variance: float = 5.0
    features: str = "split"  # split | plain
    tokens: str = "real"  # real | all: whether padding counts, as published
    below: float = 0.3  # rate of layers that have had their phase; 0: frozen
    hard: float = 0.5  # share of the hidden tokens themselves in distillation
    temperature: float = 1.0
    embedding_norm: str = "identity"  # identity | least_squares | copy
    activation_factor: float = 0.0  # of the penalty on large activations
    activation_limit: float = activations.LIMIT
    cache_dtype: str = "bfloat16"  # float32 | bfloat16 | float16, of the targets in --cache
    cache_top_k: int = 64  # soft labels of a hidden token in --cache; at most all pieces

    def check(self):
        """Raises `InputError` at the first field that cannot be."""
        for name, known in CHOICES.items():
            if (value := getattr(self, name)) not in known:
                expected = ", ".join(known)
                raise InputError(
                    f"config.transfer.{name} is {value!r}; expected one of {expected}"
                )
        if not 0 <= self.hard <= 1:
            raise InputError(f"config.transfer.hard is {self.hard}; expected from 0 to 1")
        for name in ("temperature", "activation_limit", "cache_top_k"):
            if getattr(self, name) <= 0:
                raise InputError(
                    f"config.transfer.{name} is {getattr(self, name)}; expected above 0"
                )

    @property
    def terms(self):
        return tasks.Terms(
            factors=transfer.Factors(self.hidden, self.attention, self.mean, self.variance),
            features=self.features,
            tokens=self.tokens,
            activation_factor=self.activation_factor,
            activation_limit=self.activation_limit,
        )
