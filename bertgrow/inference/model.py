"""A loaded model: one object for texts in, of every family."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax

from bertgrow.core.errors import InputError
from bertgrow.core.types import Network
from bertgrow.inference import embed, fill, score
from bertgrow.interop import hugging_face, native
from bertgrow.interop.pretrained import read_json
from bertgrow.run import weights


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A trained model with its tokenizer.

    Attributes:
      family: "bert", "mobilebert" or another installed family.
      config: configuration of the model.
      params: its weights, float32 arrays on the default device.
      tokenizer: `bertgrow.data.corpus.vocabulary.Tokenizer`.
      source: path that it was loaded from.
      step: step of the run that trained it; None for a model of other programs.
      fresh: modules with random weights, because the source had none.
      head: `interop.pretrained.TaskHead` of a fine-tuned model, or None.
      network: its `Network` of pure functions.
    """

    family: str
    config: Any
    params: Any = dataclasses.field(repr=False)
    tokenizer: Any = dataclasses.field(repr=False)
    source: str
    step: int | None
    fresh: tuple
    head: Any = dataclasses.field(repr=False)
    network: Network = dataclasses.field(repr=False)

    @functools.cached_property
    def apply(self):
        """The compiled function (params, batch) -> outputs of `Network`; it has no dropout.

        `batch` has `tokens` and `types`, int32 [batch, length]; `mask`, bool [batch, length],
        false at padding; and `positions`, int32 [batch, predictions], for `mlm_logits`.
        """
        return jax.jit(self.network.apply)

    def fill_mask(self, texts, top_k=5):
        """The most probable tokens of every [MASK], see `inference.fill.fill_mask`."""
        return fill.fill_mask(self, texts, top_k=top_k)

    def embed(self, texts, pooling="mean"):
        """Vectors of texts, float32 [texts, width], see `inference.embed.embed`."""
        return embed.embed(self, texts, pooling=pooling)

    def score(self, texts):
        """Pseudo-perplexities of texts, see `inference.score.score`."""
        return score.score(self, texts)


def load(path, step=None):
    """Loads a model for use.

    Args:
      path: working directory of a run, folder of a Hugging Face model, or folder that
        `bertgrow export --to bertgrow` wrote.
      step: int, checkpoint of a working directory; None: the newest.

    Returns:
      `Model`.

    Raises:
      InputError: there is no model, or its files do not fit together.
    """
    return of(read(path, step))


def of(pretrained):
    """The `Model` of a `Pretrained`."""
    return Model(
        **pretrained._replace(params=jax.device_put(pretrained.params))._asdict(),
        network=pretrained.network,
    )


def read(path, step=None):
    """Reads the `Pretrained` of a folder of any kind, see `load`."""
    path = Path(path)
    if (path / "checkpoints").is_dir():
        return weights.read(path, step)
    if not (path / "config.json").is_file():
        raise InputError(
            f"{path} is no model: looked for checkpoints/, as in a working directory, and for "
            "config.json, as in a Hugging Face folder"
        )
    if step is not None:
        raise InputError(f"{path} is no working directory, so it has no step {step}")
    if native.is_native(read_json(path / "config.json")):
        return native.read(path)
    return hugging_face.read(path)[0]
