"""A fine-tuned model as a Hugging Face folder: its class gives our logits of the task."""

import jax
import numpy as np
import pretrained_models as small
import pytest

from bertgrow.interop import hugging_face
from bertgrow.interop.pretrained import TaskHead
from bertgrow.models import task_heads


@pytest.mark.parametrize(
    "name, kind, classes, outputs",
    [
        ("bert", "classifier", ("bad", "good", "neither"), 3),
        ("mobilebert", "classifier", None, 1),
        ("mobilebert tiny", "spans", None, 2),
    ],
)
def test_transformers_gives_our_logits(name, kind, classes, outputs, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model, width = small.pretrained(name), small.SIZES["width"]
    draw = np.random.default_rng(0)
    weights = dict(
        kernel=draw.standard_normal((width, outputs)).astype(np.float32),
        bias=draw.standard_normal(outputs).astype(np.float32),
    )
    head = TaskHead("task", kind, classes, weights)
    batch = {name: array for name, array in small.batch().items() if name != "positions"}

    hugging_face.write(tmp_path / "folder", model._replace(head=head))

    add = task_heads.HEADS[kind]
    network = add(model.network, width=width, outputs=outputs)
    logits = jax.jit(network.apply)(model.params | {task_heads.NAME: weights}, batch)
    kinds = dict(
        classifier=transformers.AutoModelForSequenceClassification,
        spans=transformers.AutoModelForQuestionAnswering,
    )
    theirs, info = kinds[kind].from_pretrained(tmp_path / "folder", output_loading_info=True)
    assert not info["missing_keys"]
    inputs = dict(
        input_ids=torch.tensor(batch["tokens"]).long(),
        token_type_ids=torch.tensor(batch["types"]).long(),
        attention_mask=torch.tensor(batch["mask"]).long(),
    )
    with torch.no_grad():
        given = theirs.eval()(**inputs)
    if kind == "classifier":
        expected, actual = given.logits.numpy(), logits["task_logits"]
        assert theirs.config.num_labels == outputs
        assert list(theirs.config.id2label.values()) == list(classes or ["score"])
    else:
        expected = np.stack([given.start_logits, given.end_logits], axis=-1)[batch["mask"]]
        actual = np.asarray(logits["task_logits"])[batch["mask"]]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, atol=1e-4 * scale, rtol=1e-4)
