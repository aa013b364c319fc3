"""Section `transfer` of a recipe: the teacher and the transfer losses."""

from dataclasses import dataclass

from bertgrow.core.fields import option
from mobilebert.distill import copying, layer_losses, penalty, tasks

CACHE_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class TransferConfig:
    """The teacher and the transfer losses, with published weights (see docs/distill.md)."""

    teacher: str = option(
        "", "working directory of the teacher; empty: the stage before trains it"
    )
    teacher_dtype: str = option(
        "float32", "of the teacher's weights in memory", choices=("float32", "bfloat16")
    )
    hidden: float = option(100.0, "weight of the distance of feature maps", minimum=0)
    attention: float = option(1.0, "weight of the divergence of attention maps", minimum=0)
    mean: float = option(5000.0, "weight of the means of feature maps", minimum=0)
    variance: float = option(5.0, "weight of the variances of feature maps", minimum=0)
    features: str = option(
        "split",
        "feature maps are compared after normalization, means and variances apart; as they are",
        choices=("split", "plain"),
    )
    tokens: str = option(
        "real",
        "tokens that count in the maps: all but padding; all, as published",
        choices=("real", "all"),
    )
    below: float = option(
        0.3,
        "factor of the learning rate of layers whose phase is over; 0: they are frozen",
        minimum=0,
    )
    hard: float = option(
        0.5, "fraction of the true tokens in the distillation loss", minimum=0, maximum=1
    )
    temperature: float = option(1.0, "temperature of the soft labels", above=0)
    embedding_norm: str = option(
        "identity",
        "first values of the student's embedding norm: scale 1 and shift 0; fitted to the "
        "teacher's embeddings; the teacher's norm",
        choices=copying.NORMS,
    )
    activation_factor: float = option(
        0.0, "weight of the penalty on large activations", minimum=0
    )
    activation_limit: float = option(
        penalty.LIMIT, "activations above it are penalized", above=0
    )
    cache_dtype: str = option("bfloat16", "of the targets in --cache", choices=CACHE_DTYPES)
    cache_top_k: int = option(
        64,
        "soft labels kept for each masked position in --cache; at most the vocabulary",
        unit="tokens",
        minimum=1,
    )

    @property
    def terms(self):
        return tasks.Terms(
            factors=layer_losses.Factors(self.hidden, self.attention, self.mean, self.variance),
            features=self.features,
            tokens=self.tokens,
            activation_factor=self.activation_factor,
            activation_limit=self.activation_limit,
        )
