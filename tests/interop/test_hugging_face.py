"""Tests of Hugging Face folders: their classes load them and give our outputs."""

import dataclasses
import json
import shutil

import jax
import make_interop_golden as make_golden
import numpy as np
import pretrained_models as small
import pytest

from bertgrow.core.errors import InputError
from bertgrow.interop import conversion, hugging_face, safetensors, tensor_files
from bertgrow.models import families
from bertgrow.models.bert import BertConfig

GOLDEN = make_golden.FOLDER.parents[1] / "models" / "golden.npz"
# Relative for MobileBERT, whose sums are of products far above one.
TOLERANCE = dict(bert=dict(atol=2e-5, rtol=0), mobilebert=dict(atol=1e-5, rtol=1e-4))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Function (name of a model) -> its folder, written once."""
    root = tmp_path_factory.mktemp("exported")

    def folder(name):
        path = root / name.replace(" ", "_")
        if not path.exists():
            hugging_face.write(path, small.pretrained(name))
        return path

    return folder


def ours(model):
    """The same outputs as `make_golden.outputs`."""
    batch = small.batch()
    out = jax.jit(model.network.apply)(model.params, batch)
    real = batch["mask"]
    actual = {"hidden": out["hidden"][real], "logits": out["mlm_logits"][real]}
    return actual | ({"pairs": out["nsp_logits"]} if "nsp_logits" in out else {})


def assert_outputs_equal(model, expected):
    actual = ours(model)
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, **TOLERANCE[model.family])


# Its norms with Hugging Face's other epsilon are tested apart.
EQUAL = [name for name in small.EXPRESSIBLE if name != "mobilebert with LayerNorm"]


@pytest.mark.parametrize("name", EQUAL)
def test_outputs_equal_those_that_transformers_gave(name):
    expected = safetensors.read(make_golden.FOLDER / f"{name.replace(' ', '_')}.safetensors")

    assert_outputs_equal(small.pretrained(name), expected)


@pytest.mark.parametrize("name", EQUAL)
def test_transformers_gives_our_outputs_for_an_export(name, exported):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    model = small.pretrained(name)
    has_pairs = model.config.next_sentence
    kind = "ForPreTraining" if has_pairs and name != "bert pre-norm" else "ForMaskedLM"

    expected, report = make_golden.outputs(exported(name), kind)

    assert_outputs_equal(model, expected)
    assert not report["missing_keys"] and not report["mismatched_keys"]
    unused = {"cls.seq_relationship.weight", "cls.seq_relationship.bias"}
    unused |= {key for key in report["unexpected_keys"] if ".pooler." in key}
    assert report["unexpected_keys"] <= (unused if kind == "ForMaskedLM" else set())


@pytest.mark.parametrize("name", ["bert", "mobilebert"])
@pytest.mark.parametrize("kind", ["", "ForSequenceClassification", "ForQuestionAnswering"])
def test_every_auto_class_finds_the_whole_encoder(name, kind, exported):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")

    expected, report = make_golden.outputs(exported(name), kind)

    hidden = {"hidden": expected["hidden"]}
    assert_outputs_equal(small.pretrained(name), hidden)
    assert all(key.startswith(("classifier", "qa_outputs")) for key in report["missing_keys"])


@pytest.mark.parametrize("name", small.EXPRESSIBLE)
def test_an_export_comes_back_the_same(name, exported):
    model = small.pretrained(name)

    actual, account = hugging_face.read(exported(name))

    small.assert_equal_trees(actual.params, model.params)
    assert actual.config == dataclasses.replace(model.config, dtype="auto")
    assert actual.tokenizer.hash == model.tokenizer.hash
    assert account.dropped == ()


def stored_bert(form=""):
    """Weights of a stored random Hugging Face BERT, and its configuration."""
    golden, start = np.load(GOLDEN), f"{form}weights/"
    tensors = {n.removeprefix(start): golden[n] for n in golden if n.startswith(start)}
    sizes = dict(
        vocab_size=40, num_layers=2, width=16, num_heads=2, ffn_width=24, max_length=12
    )
    order = "pre" if form else "post"
    return golden, tensors, BertConfig(**sizes, norm_order=order, next_sentence=True)


@pytest.mark.parametrize("form", ["", "pre/"])
def test_a_stored_hugging_face_bert_gives_its_outputs(form):
    golden, tensors, config = stored_bert(form)
    family = families.find("bert")

    params, _ = conversion.load(tensors, family, config, "hf")

    tokens = golden["tokens"].astype(np.int32)
    inputs = dict(tokens=tokens, types=golden["types"].astype(np.int32))
    inputs["positions"] = np.tile(np.arange(tokens.shape[1], dtype=np.int32), (len(tokens), 1))
    out = jax.jit(family.network(dataclasses.replace(config, dtype="float32")).apply)(
        params, inputs
    )
    real, prefix = tokens != 0, form or "gelu/"
    np.testing.assert_allclose(out["mlm_logits"][real], golden[f"{prefix}mlm"][real], atol=2e-5)
    np.testing.assert_allclose(out["nsp_logits"], golden[f"{prefix}nsp"], atol=2e-5)


def rewritten(folder, tmp_path, rename):
    """A copy of a folder with renamed tensors."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    tensors = safetensors.read(folder / "model.safetensors")
    renamed = {new: np.array(t) for old, t in tensors.items() if (new := rename(old))}
    safetensors.write(copy / "model.safetensors", renamed)
    return copy


def test_old_names_of_norms_are_read(exported, tmp_path):
    def old(name):
        if "LayerNorm" not in name:
            return name
        return name.replace("weight", "gamma").replace("bias", "beta")

    actual, _ = hugging_face.read(rewritten(exported("bert"), tmp_path, old))

    small.assert_equal_trees(actual.params, small.pretrained("bert").params)


@pytest.mark.parametrize("name", ["bert", "mobilebert"])
def test_a_file_of_the_encoder_alone_has_no_prefix(name, exported, tmp_path):
    def alone(tensor):
        return None if tensor.startswith("cls.") else tensor.partition(".")[2]

    actual, account = hugging_face.read(rewritten(exported(name), tmp_path, alone))

    assert account.fresh == ("mlm",) and not actual.config.next_sentence
    model = small.pretrained(name)
    small.assert_equal_trees(actual.params["layers"], model.params["layers"])
    with pytest.raises(InputError, match="masked-token head"):
        from bertgrow.inference import fill

        fill.check_head(actual)


def edited(folder, tmp_path, **fields):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    known = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(known | fields))
    return copy


@pytest.mark.parametrize(
    "fields, said",
    [
        (dict(model_type="llama"), "type 'llama'; known families: bert, mobilebert"),
        (dict(hidden_act="silu"), "hidden_act 'silu'; expected one of gelu"),
        (dict(position_embedding_type="relative_key"), "only 'absolute' is supported"),
        (dict(layer_norm_eps=1e-5), "layer_norm_eps 1e-05; only 1e-12"),
        (dict(intermediate_size=48), r"shape \[24, 16\], and \[48, 16\] is expected"),
        (dict(num_hidden_layers=3), "tensors of layers are missing"),
        (dict(num_hidden_layers=1), "unexpected"),
        (dict(num_attention_heads=3), "num_heads 3 does not divide width 16"),
        (dict(vocab_size=99), "vocab.txt has 40 tokens and the model 99"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(fields, said, exported, tmp_path):
    with pytest.raises(InputError, match=said):
        hugging_face.read(edited(exported("bert"), tmp_path, **fields))


@pytest.mark.parametrize(
    "change, said",
    [
        (dict(pool=2), "pool 2, which no class"),
        (dict(ffn_rank=4), "ffn_rank 4, which no class"),
        (dict(light_every=2), "light_every 2, which no class"),
    ],
)
def test_a_low_cost_stage_is_refused_with_the_reason(change, said, tmp_path):
    model = small.of(dataclasses.replace(small.CONFIGS["bert"], **change))

    with pytest.raises(InputError, match=said):
        hugging_face.write(tmp_path / "out", model)

    assert not (tmp_path / "out").exists()


def test_a_narrow_ffn_of_a_low_cost_stage_is_a_bert(tmp_path):
    model = small.of(dataclasses.replace(small.CONFIGS["bert"], ffn_share=2))

    hugging_face.write(tmp_path, model)

    actual, _ = hugging_face.read(tmp_path)
    assert actual.config.ffn_width == 12
    np.testing.assert_allclose(ours(actual)["logits"], ours(model)["logits"], atol=1e-6)


def test_the_teacher_is_refused_with_the_reason(tmp_path):
    with pytest.raises(InputError, match="attention_input 'input' .*use --to tf1"):
        hugging_face.write(tmp_path, small.pretrained("teacher"))


def test_a_folder_with_files_is_not_overwritten(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match="has files already"):
        hugging_face.write(tmp_path, small.pretrained("bert"))


def test_real_weights_give_their_published_output(real_data, tmp_path):
    """The body of a trained BERT-tiny; the file has no embeddings and no head of tokens."""
    source = real_data.parent / "weights" / "bert_tiny_sst2_encoder"
    if not source.is_dir():
        pytest.skip("the trained encoder is absent")
    config = BertConfig(num_layers=2, width=128, num_heads=2, ffn_width=512, dtype="float32")
    fields = families.find("bert").layouts.write(config, "hf")
    shutil.copy(source / "encoder.npz", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(fields))
    vocab = real_data / "vocab" / "bert-base-uncased-vocab.txt"

    actual, account = hugging_face.read(
        tmp_path / "encoder.npz", vocab=vocab, fresh=(*conversion.HEADS, "embeddings")
    )

    assert account.fresh == ("embeddings", "mlm")
    assert account.dropped == ("classifier.bias", "classifier.weight")
    golden = np.load(source / "golden_nuovo.npz")
    from bertgrow.models import encoder, heads

    hidden = golden["embedding_output"][None]
    mask = np.ones(hidden.shape[:2], bool)
    last, *_ = encoder.run(actual.params["layers"], hidden, mask, config=config)
    pooled = heads.Pooler(config).apply({"params": actual.params["pooler"]}, last[:, 0])
    tensors = tensor_files.read(source / "encoder.npz")
    logits = pooled[0] @ tensors["classifier.weight"].T + tensors["classifier.bias"]
    # The reference is float64; hidden values reach 10, where float32 resolves 1e-6.
    np.testing.assert_allclose(last[0], golden["exact_ln_last_hidden_float64"], atol=5e-5)
    np.testing.assert_allclose(logits, golden["exact_ln_logits_float64"], atol=5e-5)
