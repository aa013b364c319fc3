"""Tests of the converter: every tensor and every weight of a model is accounted for."""

import numpy as np
import pretrained_models as small
import pytest

from bertgrow.core.errors import InputError
from bertgrow.core.layouts import HUGGING_FACE, TF1
from bertgrow.interop import conversion
from bertgrow.models import families
from bertgrow.models.bert import BertConfig
from mobilebert.models import presets
from mobilebert.models.config import MobileBertConfig

PROGRAMS = (HUGGING_FACE, TF1)


def dumped(name, program=HUGGING_FACE):
    model = small.pretrained(name)
    return conversion.dump(model.params, families.find(model.family), model.config, program)


def load(tensors, name, program=HUGGING_FACE, **options):
    model = small.pretrained(name)
    family = families.find(model.family)
    return conversion.load(tensors, family, model.config, program, **options)


@pytest.mark.parametrize("name", small.CONFIGS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_round_trip_is_bit_exact(name, program):
    params, account = load(dumped(name, program), name, program)

    small.assert_equal_trees(params, small.pretrained(name).params)
    assert (account.dropped, account.fresh) == ((), ())


@pytest.mark.parametrize("name", ["bert", "mobilebert", "teacher"])
def test_the_road_through_tf1_to_hugging_face_is_bit_exact(name):
    family = families.find(small.pretrained(name).family)
    config = small.pretrained(name).config

    params, _ = load(dumped(name, TF1), name, TF1)
    there = conversion.dump(params, family, config, HUGGING_FACE)

    direct = dumped(name)
    assert there.keys() == direct.keys()
    for tensor in direct:
        np.testing.assert_array_equal(there[tensor], direct[tensor])


# As in the index files of Google's checkpoints.
@pytest.mark.parametrize(
    "preset, encoder, heads",
    [
        (presets.mobilebert, 24 * 46 + 7, 8),
        (presets.mobilebert_tiny, 24 * 30 + 7, 8),
        (presets.ib_bert_large, 24 * 24 + 7, 8 + 2),
    ],
)
def test_mobilebert_has_the_published_number_of_tensors(preset, encoder, heads):
    rows = families.find("mobilebert").layouts.weights(MobileBertConfig(**preset()))

    inside = [row for row in rows if row.tf1.startswith(("bert/encoder/", "bert/embeddings/"))]
    assert (len(inside), len(rows) - len(inside)) == (encoder, heads)
    for names in ([row.hf for row in rows], [row.tf1 for row in rows]):
        assert len(set(names)) == len(rows)


def test_names_are_those_of_the_published_table():
    rows = families.find("mobilebert").layouts.weights(MobileBertConfig(**presets.mobilebert()))
    by_path = {(row.path, row.index): (row.hf, row.tf1) for row in rows}

    expected = {
        ("layers/shared/kernel", (3,)): (
            "mobilebert.encoder.layer.3.bottleneck.attention.dense.weight",
            "bert/encoder/layer_3/bottleneck/attention/dense/kernel",
        ),
        ("layers/mlp_norm/scale", (3, 1)): (
            "mobilebert.encoder.layer.3.ffn.1.output.LayerNorm.weight",
            "bert/encoder/layer_3/ffn_layer_1/output/FakeLayerNorm/gamma",
        ),
        ("layers/up/kernel", (3, 3)): (
            "mobilebert.encoder.layer.3.intermediate.dense.weight",
            "bert/encoder/layer_3/intermediate/dense/kernel",
        ),
        ("mlm/norm/bias", ()): (
            "cls.predictions.transform.LayerNorm.bias",
            "cls/predictions/transform/LayerNorm/beta",
        ),
        ("mlm/extra", ()): (
            "cls.predictions.dense.weight",
            "cls/predictions/extra_output_weights",
        ),
    }
    for place, names in expected.items():
        assert by_path[place] == names


def test_a_bert_base_has_the_names_of_the_published_checkpoint():
    rows = families.find("bert").layouts.weights(BertConfig(next_sentence=True))
    tf1 = [row.tf1 for row in rows]

    assert len(rows) == 5 + 12 * 16 + 2 + 5 + 2
    for name in (
        "bert/embeddings/word_embeddings",
        "bert/encoder/layer_11/attention/output/LayerNorm/gamma",
        "bert/pooler/dense/kernel",
        "cls/predictions/output_bias",
        "cls/seq_relationship/output_weights",
    ):
        assert name in tf1


@pytest.mark.parametrize("name", ["bert", "mobilebert"])
def test_kernels_have_the_shapes_of_the_published_table(name):
    hf, tf1 = dumped(name), dumped(name, TF1)
    family, config = families.find(small.pretrained(name).family), small.CONFIGS[name]

    for row in family.layouts.weights(config):
        shapes = hf[row.hf].shape, tf1[row.tf1].shape
        is_transposed = (HUGGING_FACE in row.transposed) != (TF1 in row.transposed)
        assert shapes[0] == (shapes[1][::-1] if is_transposed else shapes[1])
    assert hf["cls.seq_relationship.weight"].shape == (2, config.width)
    assert tf1["cls/seq_relationship/output_weights"].shape == (2, config.width)


def test_tied_copies_and_position_ids_and_task_heads_are_dropped():
    tensors, words = dumped("bert"), "bert.embeddings.word_embeddings.weight"
    tensors["cls.predictions.decoder.weight"] = tensors[words]
    tensors["cls.predictions.decoder.bias"] = tensors.pop("cls.predictions.bias")
    tensors["bert.embeddings.position_ids"] = np.arange(32)
    tensors["classifier.weight"] = np.zeros((2, 16))

    params, account = load(tensors, "bert")

    small.assert_equal_trees(params, small.pretrained("bert").params)
    assert account.dropped == (
        "bert.embeddings.position_ids", "classifier.weight", "cls.predictions.decoder.weight",
    )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["bert/pooler/dense/kernel/adam_m", "global_step", "teacher/bert/pooler/dense/bias",
     "bert/encoder/layer_0/FakeQuantWithMinMaxVars/min"],
)  # fmt: skip
def test_what_only_training_needs_is_dropped_from_a_tf1_checkpoint(name):
    _, account = load(dumped("bert", TF1) | {name: np.zeros(3)}, "bert", TF1)

    assert account.dropped == (name,)


def test_missing_heads_are_random_and_named():
    tensors = {name: t for name, t in dumped("bert").items() if not name.startswith("cls.")}

    params, account = load(tensors, "bert")

    assert account.fresh == ("mlm", "nsp")
    assert "missing, so random: mlm, nsp" in account.text()
    small.assert_equal_trees(params["layers"], small.pretrained("bert").params["layers"])
    assert np.isfinite(params["mlm"]["kernel"]).all()


def change(name, array):
    return lambda tensors: tensors.update({name: array})


KERNEL = "bert.encoder.layer.1.intermediate.dense.weight"


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda tensors: tensors.pop(KERNEL), f"missing, first {KERNEL}"),
        (lambda tensors: tensors.pop("cls.predictions.bias"), "first cls.predictions.bias"),
        (change("bert.encoder.layer.2.output.dense.bias", np.zeros(16)), "unexpected, first"),
        (change(KERNEL, np.zeros((16, 24))), r"shape \[16, 24\], and \[24, 16\] is expected"),
        (change(KERNEL, np.full((24, 16), np.nan)), "384 numbers that are not finite"),
        (change("cls.predictions.decoder.bias", np.ones(len(small.TOKENS))), "differ"),
    ],
)
def test_a_mismatch_is_an_error_that_names_the_tensor(damage, said):
    tensors = dumped("bert")
    damage(tensors)

    with pytest.raises(InputError, match=said):
        load(tensors, "bert")


def test_half_precision_is_read():
    tensors = {name: tensor.astype(np.float16) for name, tensor in dumped("bert").items()}

    params, _ = load(tensors, "bert")

    expected = small.pretrained("bert").params["pooler"]["kernel"].astype(np.float16)
    assert params["pooler"]["kernel"].dtype == np.float32
    np.testing.assert_array_equal(params["pooler"]["kernel"], expected.astype(np.float32))
