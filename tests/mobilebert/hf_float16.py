"""Compares the forward passes of a trained student in float32 and in float16.

    python tests/mobilebert/hf_float16.py WORKDIR...

By Hugging Face's MobileBERT with the student's weights, cast as a whole, and its "eager"
attention: every weight, sum and product in float16, scores before they are divided by the root
of the head's width. Fused attention adds up in float32 and is not what this measures.
"""

import copy
import sys

import hf_mobilebert
import jax
import numpy as np
import torch
import transformers

from bertgrow.core import keys
from bertgrow.data.sequences import masking, pipeline, streams
from bertgrow.recipes import resolve, token_stores
from bertgrow.recipes.build import ConfigDict
from bertgrow.run import workdir
from bertgrow.train.checkpoints import checkpoint
from mobilebert.models import mobilebert

ROWS = 256


def trained(folder):
    """The settings of a run, its store and the weights it came to."""
    recipe = workdir.read(folder)["recipe"]
    store = token_stores.open_all(ConfigDict(recipe))[0]
    settings = resolve.resolve(recipe, vocab=store.vocab)
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.eval_shape(
        mobilebert.network(settings.stages[-1].model).init, jax.random.key(0)
    )
    shapes = jax.tree.map(lambda leaf: leaf.update(sharding=place), shapes)
    with checkpoint.Checkpoints(f"{folder}/checkpoints") as saves:
        return settings, store, saves.restore_params(saves.latest(), shapes)


def hugging_face(config, params):
    """Their model with our weights."""
    model = transformers.MobileBertForPreTraining(
        hf_mobilebert.sized(config, transformers)
    ).eval()
    hf_params = dict(model.named_parameters())
    ends = np.cumsum([weight.numel() for weight in hf_params.values()])
    # Numbers in the place of weights show where each of ours belongs.
    numbers = {
        name: np.arange(end - weight.numel(), end).reshape(weight.shape)
        for (name, weight), end in zip(hf_params.items(), ends, strict=True)
    }
    places, flat = hf_mobilebert.params(numbers, config), np.zeros(ends[-1], np.float32)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        place = places
        for key in path:
            place = place[key.key]
        flat[place.ravel()] = np.asarray(leaf).ravel()
    with torch.no_grad():
        for name, weight in hf_params.items():
            weight.copy_(torch.tensor(flat[numbers[name]]))
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-12
    return model


def batches(settings, store):
    """{"held out", "training": `ROWS` rows of the last stage}, the first ones."""
    stage, kind = settings.stages[-1], settings.data.rows
    number = ROWS // stage.batch
    sizes = dict(length=stage.length, kind=kind)
    stream = streams.Stream([store], seed=settings.seed, **sizes)
    with pipeline.batches(stream, batch=stage.batch) as endless:
        training = [batch for _, (batch, _) in zip(range(number), endless, strict=False)]
    held_out = pipeline.held_out(store, batch=stage.batch, limit=number, **sizes)
    return {"held out": held_out, "training": training}


def passes(model, dataset, settings, vocab):
    """Mean loss of the hidden tokens, and how many rows have a logit that is not finite."""
    loss, count, infinite = 0.0, 0.0, 0
    max_predictions = settings.masking.num_predictions(settings.stages[-1].length)
    for batch in dataset:
        tokens, positions, targets, weights = masking.mask_tokens(
            batch["tokens"], batch["ids"],
            keys.derive(jax.random.key(settings.seed), keys.Purpose.MASKS),
            vocab=vocab, rate=settings.masking.rate,
            max_predictions=max_predictions, show="mask",
        )  # fmt: skip
        tokens, positions, targets, weights = map(
            lambda array: torch.tensor(np.array(array)), (tokens, positions, targets, weights)
        )
        with torch.no_grad():
            logits = model(
                input_ids=tokens.long(),
                token_type_ids=torch.tensor(batch["types"]).long(),
                attention_mask=(tokens != vocab.pad_id).long(),
            ).prediction_logits.float()
        picked = torch.arange(len(tokens))[:, None], positions.long(), targets.long()
        loss -= float((logits.log_softmax(dim=-1)[picked] * weights).sum())
        count += float(weights.sum())
        infinite += int((~torch.isfinite(logits)).any(dim=-1).any(dim=-1).sum())
    return loss / count, infinite


def main():
    for folder in sys.argv[1:]:
        settings, store, params = trained(folder)
        model = hugging_face(settings.stages[-1].model, params)
        for name, dataset in batches(settings, store).items():
            for dtype in (torch.float32, torch.float16):
                loss, infinite = passes(
                    copy.deepcopy(model).to(dtype), dataset, settings, store.vocab
                )
                print(
                    f"{folder}  {name}  {dtype}  loss {loss:.3f}  not finite {infinite}/{ROWS}"
                )


if __name__ == "__main__":
    main()
