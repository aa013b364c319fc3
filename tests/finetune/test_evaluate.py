"""`bertgrow evaluate`: official scores of SQuAD, metrics of GLUE, pseudo-perplexity."""

import json
import math

import commands
import pytest
import small_tasks

from bertgrow.commands import evaluate
from bertgrow.core.errors import InputError
from bertgrow.finetune import metrics
from bertgrow.finetune.squad import data, scoring
from bertgrow.inference import model, score

pytest.importorskip("sklearn", reason="scikit-learn is absent; install the package again")


def question(name, *answers):
    return data.Question(name, "context", "question", tuple((a, -1) for a in answers), False)


@pytest.mark.parametrize(
    "task, name",
    [("squad1", "v1.1_logistic_regression"), ("squad2", "v2.0_bidaf_selfatt_elmo")],
)
def test_scores_equal_those_of_the_official_script(task, name, real_data, capsys):
    folder = real_data / "squad"
    known = json.loads((folder / "predictions/scores.json").read_text())[f"{name}.json.xz"]

    scores = commands.printed(
        capsys, evaluate, "--task", task, "--data", folder / known["dev_file"],
        "--predictions", folder / "predictions" / f"{name}.json.xz",
    )  # fmt: skip

    assert {key: scores[key] for key in known["scores"]} == pytest.approx(
        known["scores"], rel=0, abs=1e-9
    )
    assert scores["missing"] == (13 if task == "squad1" else 0)
    assert scores["unknown"] == (28 if task == "squad1" else 0)


def test_a_missing_answer_scores_zero_in_v1_and_does_not_count_in_v2():
    questions = [question("a", "the cat"), question("b", "dog")]

    first = scoring.score_v1(questions, {"a": "Cat!"})
    second = scoring.score_v2(questions, {"a": "Cat!"})

    assert (first["exact_match"], first["total"], first["missing"]) == (50, 2, 1)
    assert (second["exact"], second["total"], second["missing"]) == (100, 1, 1)


def test_the_best_threshold_answers_below_it_only():
    questions = [question("a", "cat"), question("b"), question("c", "dog"), question("d")]
    predictions = {"a": "cat", "b": "x", "c": "bird", "d": "y"}
    odds = {"a": 0.1, "b": 0.9, "c": 0.2, "d": 0.8}

    scores = scoring.score_v2(questions, predictions, odds, threshold=1.0)

    # Answering only `a` is right for a, b and d.
    assert (scores["exact"], scores["HasAns_exact"], scores["NoAns_exact"]) == (25, 50, 0)
    assert (scores["best_exact"], scores["best_exact_thresh"]) == (75, 0.1)
    assert scoring.score_v2(questions, predictions, odds, threshold=0.5)["exact"] == 75


def test_metrics_are_those_of_scikit_learn_and_scipy():
    labels, predictions = [0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0]

    values = metrics.compute(metrics.CLASSIFY, labels, predictions, num_classes=2)
    scores = metrics.compute(metrics.REGRESS, [0.0, 1, 2, 5], [1.0, 1.5, 1.4, 4])

    # By hand: 2 true positives, 2 true negatives, 1 of either error.
    assert values == pytest.approx(dict(accuracy=4 / 6, f1=2 / 3, matthews=3 / 9))
    pearson = 8.5 / math.sqrt(14 * 5.6075)
    assert scores == pytest.approx(dict(pearson=pearson, spearman=0.8, mse=0.6525))
    assert metrics.compute(["matthews", "f1"], [0, 1], [0, 0], num_classes=2) == {
        "matthews": 0, "f1": 0,
    }  # fmt: skip
    assert metrics.compute(["pearson"], [0.0, 1.0], [2.0, 2.0]) == {"pearson": 0}


@pytest.fixture
def rte(tmp_path):
    rows = [f"{i}\ta b\tc d\t{'not_' * (i % 2)}entailment\n" for i in range(4)]
    (tmp_path / "dev.tsv").write_text("index\tsentence1\tsentence2\tlabel\n" + "".join(rows))
    return tmp_path


def submission(folder, *rows):
    path = folder / "RTE.tsv"
    path.write_text("\n".join(["index\tprediction", *rows, ""]))
    return path


def test_predictions_of_glue_are_scored_by_index(rte, capsys):
    rows = [f"{i}\tentailment" for i in (3, 0, 2, 1)]

    scores = commands.printed(
        capsys, evaluate, "--task", "glue/rte", "--data", rte,
        "--predictions", submission(rte, *rows),
    )  # fmt: skip

    assert scores == {"accuracy": 0.5, "total": 4}


@pytest.mark.parametrize(
    "rows, expected",
    [
        (["0\tentailment", "9\tentailment"], "index '9' is no example of the data"),
        (["0\tentailment"], "3 examples have no prediction, e.g. 1"),
        (["0\tentailment", "0\tentailment"], "an index occurs twice"),
        ([f"{i}\tyes" for i in range(4)], "prediction 'yes'; expected not_entailment"),
    ],
)
def test_wrong_predictions_are_one_line(rte, rows, expected):
    with pytest.raises(InputError, match=expected):
        commands.run(
            evaluate, "--task", "glue/rte", "--data", rte,
            "--predictions", submission(rte, *rows),
        )  # fmt: skip


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--task", "glue/xyz"], "no task of GLUE; known: cola, mnli"),
        (["--task", "squad3"], "expected squad1, squad2, glue/cola"),
        (["--task", "squad1"], "needs --predictions"),
        (["--task", "pseudo-perplexity"], "needs --from"),
        (["--task", "squad1", "--predictions", "absent.json"], "there is no such file"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, words, expected):
    with pytest.raises(InputError, match=expected):
        commands.run(evaluate, "--data", tmp_path, *words)


def test_pseudo_perplexity_is_over_all_tokens(tmp_path, capsys, monkeypatch):
    class Model:
        def score(self, texts):
            return [score.Score(math.exp(len(text)), len(text), len(text)) for text in texts]

    monkeypatch.setattr(model, "load", lambda path, step: Model())
    text = tmp_path / "text.txt"
    text.write_text("ab\n\nabcd\n")

    result = commands.printed(
        capsys, evaluate, "--task", "pseudo-perplexity", "--from", "any", "--data", text
    )

    mean = (2 * 2 + 4 * 4) / 6
    assert result["pseudo_perplexity"] == pytest.approx(math.exp(mean))
    assert (result["tokens"], result["texts"]) == (6, 2)


def test_answers_to_other_questions_are_refused_if_there_are_no_others(tmp_path, capsys):
    data = small_tasks.squad(tmp_path / "squad", version="v1.1") / "dev-v1.1.json"
    answers = tmp_path / "answers.json"
    words = ("--task", "squad1", "--data", data, "--predictions", answers)

    answers.write_text('{"other": "paris", "dev0": "paris"}')
    scores = commands.printed(capsys, evaluate, *words)
    answers.write_text('{"other": "paris"}')
    with pytest.raises(InputError, match="answers no question of .*dev-v1.1.json"):
        commands.run(evaluate, *words)

    assert (scores["unknown"], scores["missing"]) == (1, 7)
