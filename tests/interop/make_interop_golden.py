"""Writes what torch, transformers and TensorFlow make, for machines without them, when run.

    PYTHONPATH=tests python tests/interop/make_interop_golden.py

Needed again only if the models of `pretrained_models`, or `STATE`, change.
"""

from pathlib import Path

import numpy as np
import pretrained_models as small

from bertgrow.interop import hugging_face, safetensors

FOLDER = Path(__file__).with_name("golden")
WHOLE = np.arange(12).reshape(3, 4)
STATE = {  # by `torch_state`
    "whole": WHOLE,
    "transposed": WHOLE.T,
    "row": WHOLE[1],
    "parameter": np.ones((2, 2)),
    "bfloat16": [1.0, 2.5],
    "ids": np.arange(3),
}
TENSORS = {  # of a TensorFlow checkpoint; the last is long enough for CRCs in lanes
    "bert/a/kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
    "bert/a/bias": np.float32([1.5]),
    "scalar": np.float32(2.0).reshape(()),
    "large": np.linspace(0, 1, 9001, dtype=np.float32),
}
STEP = {"global_step": np.int64(7).reshape(())}


def save_by_tensorflow(tensorflow, prefix):
    """Writes `TENSORS` and `STEP` as a checkpoint."""
    tensors = TENSORS | STEP
    tensorflow.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=list(tensors), tensors=list(tensors.values()),
        shape_and_slices=[""] * len(tensors),
    )  # fmt: skip


def torch_state(torch):
    """A state dict with two views of one storage, a parameter, bfloat16 and integers."""
    whole = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    return {
        "whole": whole,
        "transposed": whole.T,
        "row": whole[1],
        "parameter": torch.nn.Parameter(torch.ones(2, 2)),
        "bfloat16": torch.tensor([1.0, 2.5], dtype=torch.bfloat16),
        "ids": torch.arange(3),
    }


def outputs(folder, kind="ForMaskedLM"):
    """What transformers makes of `small.batch()` with the model in a folder.

    Returns:
      {"hidden", "logits"} at real tokens, with the pre-training heads also "pairs", and the
      report of the loading.
    """
    import torch
    import transformers

    model, report = getattr(transformers, f"AutoModel{kind}").from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager"
    )
    batch = small.batch()
    with torch.no_grad():
        out = model.eval()(
            input_ids=torch.tensor(batch["tokens"]).long(),
            token_type_ids=torch.tensor(batch["types"]).long(),
            attention_mask=torch.tensor(batch["mask"]).long(),
            output_hidden_states=True,
        )
    real = batch["mask"]
    arrays = {"hidden": out.hidden_states[-1].numpy()[real]}
    if kind == "ForMaskedLM":
        arrays["logits"] = out.logits.numpy()[real]
    if kind == "ForPreTraining":
        arrays["logits"] = out.prediction_logits.numpy()[real]
        arrays["pairs"] = out.seq_relationship_logits.numpy()
    return arrays, report


def main():
    import tempfile

    import tensorflow
    import torch

    FOLDER.mkdir(exist_ok=True)
    save_by_tensorflow(tensorflow, FOLDER / "tensorflow.ckpt")
    torch.save(torch_state(torch), FOLDER / "zip.bin")
    torch.save(torch_state(torch), FOLDER / "pickles.bin", _use_new_zipfile_serialization=False)
    for name in small.EXPRESSIBLE:
        with tempfile.TemporaryDirectory() as folder:
            hugging_face.write(folder, small.pretrained(name))
            arrays, _ = outputs(folder)
        safetensors.write(FOLDER / f"{name.replace(' ', '_')}.safetensors", arrays)


if __name__ == "__main__":
    main()
