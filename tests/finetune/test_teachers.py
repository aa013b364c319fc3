"""Soft labels of a fine-tuned teacher: the loss, the run, and teachers that do not fit."""

import json

import commands
import jax
import numpy as np
import pretrained_models
import pytest
import small_tasks

from bertgrow.commands import finetune
from bertgrow.core.errors import InputError
from bertgrow.finetune import labelled, launch, tables, teachers
from bertgrow.interop import native
from bertgrow.interop.pretrained import TaskHead

CLASSES = ("0", "1")


def fine_tuned(kind="classifier", classes=CLASSES, outputs=2):
    """A random model with a head of a task."""
    kernel = np.random.default_rng(1).standard_normal((16, outputs)).astype(np.float32)
    head = TaskHead("glue/sst2", kind, classes, dict(kernel=kernel, bias=kernel[0]))
    return pretrained_models.of(small_tasks.CONFIG, seed=1)._replace(head=head)


def softmax(logits, axis):
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize(
    "kind, classes, outputs",
    [("classifier", CLASSES, 2), ("classifier", None, 1), ("spans", None, 2)],
)
def test_the_loss_is_the_weighted_sum_of_both_losses(kind, classes, outputs):
    teacher = teachers.make(fine_tuned(kind, classes, outputs), 0.25, 2.0)
    batch = pretrained_models.batch() | dict(weights=np.float32([0.5, 0.5, 0]))
    labels = np.asarray(jax.jit(teacher.network.apply)(teacher.params, batch)["task_logits"])
    logits = np.where(labels < -1e8, labels, 1 - labels / 2).astype(np.float32)

    scores = teacher.mixed(dict(loss=3.0, accuracy=0.5), teacher.params, batch, logits)

    if outputs == 1:
        each = (logits - labels)[:, 0] ** 2
    else:  # 4 is the square of the temperature
        axis = 1
        probabilities = np.log(softmax(logits / 2, axis) + 1e-30)
        terms = -4 * (softmax(labels / 2, axis) * probabilities).sum(axis=axis)
        each = terms.mean(axis=1) if kind == "spans" else terms
    soft = (each * batch["weights"]).sum()
    assert scores["soft_loss"] == pytest.approx(soft, rel=1e-4)
    assert scores["loss"] == pytest.approx(0.25 * 3 + 0.75 * soft, rel=1e-4)
    assert (scores["label_loss"], scores["accuracy"]) == (3.0, 0.5)


def problem(labels="01"):
    """A table of two classes."""
    rows = [f"text {number}" for number in range(20)]
    table = tables.Table(
        "t", dict(x=rows, y=list(labels) * 10), [f"row {n}" for n in range(20)]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "read", lambda path: table)
        return labelled.of_table(
            "classify", "t", ("x", None, "y"), pretrained_models.tokenizer(), 32
        )


def test_a_teacher_that_does_not_fit_is_refused():
    student, model = pretrained_models.of(small_tasks.CONFIG), fine_tuned()
    short = model._replace(config=type(model.config)(**{**vars(model.config), "max_length": 8}))
    foreign = student._replace(tokenizer=student.tokenizer._replace(hash="other"))

    def check(model, task, student=student):
        teachers.check(teachers.make(model, 0.5, 1.0), task, student, 16)

    check(model, problem())
    with pytest.raises(InputError, match="has no head of a task; give the --workdir of a fini"):
        teachers.make(student, 0.5, 1.0)
    with pytest.raises(
        InputError, match=r"\(the labels 0, 1\); --task classify has the labels a"
    ):
        check(model, problem("ab"))
    with pytest.raises(
        InputError, match="for glue/sst2 .spans.; --task classify has the labels"
    ):
        check(fine_tuned("spans", None), problem())
    with pytest.raises(InputError, match="has another vocabulary than --from small models"):
        check(model, problem(), foreign)
    with pytest.raises(InputError, match="has 8 positions, and sequences have up to 16 tokens"):
        check(short, problem())


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--temperature", "2"], "--temperature is of --teacher DIR; give one"),
        (
            ["--teacher", "model", "--label-weight", "1"],
            "--label-weight 1; expected 0 to below 1",
        ),
        (["--teacher", "model"], "--teacher model has no head of a task"),
    ],
)
def test_wrong_options_are_one_line(words, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    native.write(tmp_path / "model", pretrained_models.of(small_tasks.CONFIG))
    with pytest.raises(InputError, match=expected):
        commands.run(
            finetune, "--task", "glue/sst2", "--from", "model", "--data", ".", "--workdir", "W",
            *words,
        )  # fmt: skip


@pytest.mark.slow
def test_a_student_learns_from_its_teacher_and_keeps_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small_tasks.model(tmp_path / "model")
    small_tasks.sst2(tmp_path / "SST-2", longest=8)
    words = ["--task", "glue/sst2", "--from", "model", "--data", ".", "--batch", "8"]
    words += ["--learning-rate", "1e-2"]
    commands.run(finetune, *words, "--epochs", "3", "--workdir", "teacher")
    # The labels of the training set are wrong half of the time now.
    wrong = [
        f"{text}\t{number % 2}" for number, (text, _) in enumerate(small_tasks.texts(160, 0))
    ]
    (tmp_path / "SST-2/train.tsv").write_text("\n".join(["sentence\tlabel", *wrong, ""]))
    words += ["--epochs", "3", "--workdir", "student", "--teacher", "teacher"]

    commands.run(finetune, *words, "--label-weight", "0")

    results = json.loads((tmp_path / "student/results.json").read_text())
    assert results["metrics"]["SST-2"]["accuracy"] == 1
    card = (tmp_path / "student/MODEL_CARD.md").read_text()
    assert "| teacher | teacher, step 60 |" in card and "| label_weight | 0.0 |" in card
    rows = map(json.loads, (tmp_path / "student/metrics.jsonl").read_text().splitlines())
    last = [row for row in rows if row["split"] == "train"][-1]
    assert last["loss"] == pytest.approx(last["soft_loss"]) and last["label_loss"] > 0.5
    assert launch.first_steps(lambda: [tmp_path / "student"]) == [None, 60]
    with pytest.raises(
        InputError, match="label weight 0 and temperature 1, not with --teacher"
    ):
        commands.run(finetune, *words)
    with pytest.raises(
        InputError, match=r"label weight 0 and temperature 1, not without a tea"
    ):
        commands.run(finetune, *words[:-2])
