"""Tests of the model of a working directory: of every stage, imported, and to start from."""

import json

import jax
import numpy as np
import pretrained_models as small
import pytest
from small_runs import pretrain

from bertgrow import cli
from bertgrow.core.errors import InputError
from bertgrow.inference import model
from bertgrow.interop import hugging_face
from bertgrow.run import weights, workdir


@pytest.mark.parametrize(
    "step, layers, pool, ffn_width", [(7, 1, 2, 16), (14, 2, 2, 16), (28, 2, 1, 32)]
)
def test_a_checkpoint_loads_as_the_model_of_its_stage(finished, step, layers, pool, ffn_width):
    actual = weights.read(finished, step)

    assert (actual.step, actual.family) == (step, "bert")
    config = actual.config
    assert (config.num_layers, config.pool, config.mlp_width) == (layers, pool, ffn_width)
    assert actual.params["layers"]["up"]["kernel"].shape == (layers, 16, ffn_width)


def test_the_newest_checkpoint_is_the_default_and_has_the_held_out_loss_of_its_run(
    finished, store
):
    loaded = model.load(finished)

    assert loaded.step == 28
    (best,) = loaded.fill_mask(["The [MASK] of the file."], top_k=400)[0]
    unigrams = store.held_out.unigrams / store.held_out.unigrams.sum()
    # 28 steps bring the output near the frequencies of tokens.
    probabilities = np.zeros(400)
    probabilities[[each.id for each in best]] = [each.probability for each in best]
    loss = -(unigrams * np.log(probabilities)).sum()
    rows = (finished / "metrics.jsonl").read_text().splitlines()
    last = [row for row in map(json.loads, rows) if row["split"] == "eval"][-1]
    assert loss == pytest.approx(last["mask_loss"], abs=0.3)


def test_a_run_without_a_copy_of_its_vocabulary_takes_that_of_its_store(finished, store):
    known = workdir.read(finished)
    known.pop("tokenizer")

    assert weights.read_vocabulary(finished, known).hash == store.meta["vocab"]["hash"]

    known["store"]["vocabulary"] = "0" * 64
    with pytest.raises(InputError, match="was trained with 000000000000"):
        weights.read_vocabulary(finished, known)


@pytest.mark.parametrize(
    "step, said", [(9, "no checkpoint of step 9; it has 7, 14, 21, 24, 28")]
)
def test_a_step_without_a_checkpoint_is_answered(finished, step, said):
    with pytest.raises(InputError, match=said):
        weights.read(finished, step)


@pytest.mark.slow
def test_an_exported_run_comes_back_as_a_run_that_others_start_from(
    finished, store, tmp_path, capsys
):
    folder, run = str(tmp_path / "hf"), str(tmp_path / "imported")

    assert cli.main(["export", "--to", "hf", "--from", str(finished), "--output", folder]) == 0
    assert cli.main(["import", folder, "--from", "hf", "--workdir", run]) == 0
    assert "tensors loaded" in capsys.readouterr().out

    before, after = weights.read(finished), weights.read(run)
    small.assert_equal_trees(jax.device_get(before.params), jax.device_get(after.params))
    assert (after.step, after.tokenizer.hash) == (0, before.tokenizer.hash)
    options = (f"--config.init_from={run}", "--config.stages[0].steps=1")
    assert pretrain(store, tmp_path / "run", *options, variant=":plain") == 0
    assert cli.main(["import", folder, "--from", "hf", "--workdir", run]) == 2
    assert "has a run already" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["bert", "mobilebert"])
def test_an_imported_model_is_a_working_directory(name, tmp_path, capsys):
    pretrained = small.pretrained(name)
    hugging_face.write(tmp_path / "hf", pretrained)
    run = tmp_path / "run"

    args = ["import", str(tmp_path / "hf"), "--from", "hf", "--workdir", str(run)]
    assert cli.main(args) == 0
    assert cli.main(["fill", "the [MASK]", "--from", str(run), "--top-k", "1", "--json"]) == 0

    (actual,) = json.loads(capsys.readouterr().out.splitlines()[-1])
    (expected,) = model.of(pretrained).fill_mask(["the [MASK]"], top_k=1)
    assert actual["masks"][0][0]["token"] == expected[0][0].token
    assert workdir.read(run)["imported"]["dropped"] == []
    assert cli.main(["report", str(run), "--output", str(tmp_path / "report.html")]) == 0


@pytest.mark.parametrize(
    "args, said",
    [
        (["fill", "--from", "{}", "no mask"], "text 0 has no [MASK]"),
        (["fill", "--from", "/nowhere", "[MASK]"], "/nowhere is no model"),
        (["fill", "--from", "{}", "--step", "9", "[MASK]"], "no checkpoint of step 9"),
        (["export", "--to", "hf", "--from", "{}", "--step", "7", "--output", "{}-x"], "pool 2"),
        (["export", "--to", "tf1", "--from", "{}", "--output", "{}-x"], "SentencePiece"),
        (["import", "--from", "hf", "{}", "--workdir", "{}-x"], "has no weights"),
        (
            ["import", "--from", "tf1", "{}/x.ckpt", "--workdir", "{}-x"],
            "config.json describes",
        ),
        (["embed", "--from", "{}", "--input", "x", "--output", "x.csv"], ".npy or .parquet"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(finished, capsys, args, said):
    assert cli.main([word.format(finished) for word in args]) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error
    assert not finished.with_name(f"{finished.name}-x").exists()
