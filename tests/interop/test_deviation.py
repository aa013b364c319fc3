"""Tests of the measured deviation of other programs from our models."""

import dataclasses

import jax
import make_interop_golden as make_golden
import numpy as np
import pretrained_models as small
import pytest

from bertgrow import cli
from bertgrow.core.errors import CheckFailed
from bertgrow.core.layouts import HUGGING_FACE, TF1
from bertgrow.interop import deviation, native, safetensors

LAYER = "mobilebert with LayerNorm"


def test_loose_norms_are_those_of_hugging_face():
    model = small.pretrained(LAYER)
    expected = safetensors.read(make_golden.FOLDER / "mobilebert_with_LayerNorm.safetensors")
    config = dataclasses.replace(model.config, loose_norms=True)
    batch = small.batch()

    out = jax.jit(model._replace(config=config).network.apply)(model.params, batch)

    real = batch["mask"]
    np.testing.assert_allclose(out["hidden"][real], expected["hidden"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        out["mlm_logits"][real], expected["logits"], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ["bert", "mobilebert"])
def test_most_models_have_no_deviation(name):
    assert deviation.check(small.pretrained(name), HUGGING_FACE) is None


def test_a_layer_norm_student_is_measured_and_refused_beyond_the_budget(monkeypatch):
    model = small.pretrained(LAYER)

    line = deviation.check(model, HUGGING_FACE)
    monkeypatch.setattr(deviation, "BUDGET", 1e-9)

    assert "epsilon 1e-5, not 1e-12: outputs differ by" in line
    with pytest.raises(CheckFailed, match="above 1e-09: use --to bertgrow"):
        deviation.check(model, HUGGING_FACE)


def test_an_export_to_tf1_prints_the_deviation_of_gelu(tmp_path, capsys):
    native.write(tmp_path / "model", small.pretrained("bert"))

    args = ["--from", str(tmp_path / "model"), "--output", str(tmp_path / "out")]
    assert cli.main(["export", "--to", "tf1", *args]) == 0

    assert "gelu by tanh, this model by erf: outputs differ by" in capsys.readouterr().out
    assert deviation.check(small.pretrained("bert without pairs"), TF1) is None
