"""SQuAD: features equal to Google's, answers from logits, checks of training files."""

import json
import lzma

import numpy as np
import pretrained_models
import pytest
import small_tasks

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import vocabulary
from bertgrow.finetune.squad import answers, data, features, problem, realign, scoring


def question(context, *answer, name="q", text="the list"):
    found = tuple((each, context.find(each)) for each in answer)
    return data.Question(name, context, text, found, not answer)


def test_features_equal_the_3000_published_ones(real_data):
    tokenizer = vocabulary.load(real_data / "vocab/bert-base-uncased-vocab.txt")
    path = real_data / "fixtures/mlperf_squad_features/squad_v1.1_dev_features_384_128.jsonl.xz"
    with lzma.open(path, "rt") as lines:
        known = [json.loads(line) for line in lines]
    ids = {row["qas_id"] for row in known}
    questions = [
        each for each in data.read(real_data / "squad/dev-v1.1.json.xz") if each.id in ids
    ]

    made, words = features.make(questions, tokenizer)

    assert len(made) == len(known) == 3000
    for feature, row in zip(made, known, strict=True):
        assert questions[feature.question].id == row["qas_id"]
        assert feature.tokens.tolist() == row["input_ids"]
        assert feature.start == row["question_len"]
        assert feature.words.tolist() == row["token_to_orig_map"]
        assert feature.has_max_context.tolist() == row["token_is_max_context"]

    # Logits that mark the answers give their texts. Where an answer is inside of a token ("5"
    # of "50"), no span of tokens is the answer alone.
    part = made[:300]
    questions = questions[: part[-1].question]
    marked = np.zeros((2, 300, 384), np.float32)
    for number, feature in enumerate(part):
        marked[[0, 1], number, feature.answer] = 5
    found = answers.decode(questions, part, words, *marked, tokenizer)
    assert scoring.score_v1(questions, found.predictions())["f1"] > 97
    for asked in questions:
        assert asked.answers[0][0] in found.best[asked.id]


def test_a_long_paragraph_is_cut_into_windows_that_share_each_token_once():
    tokenizer = pretrained_models.tokenizer()
    context = " ".join("bbcdefghijbbcdefghij")  # room for 10 beside [CLS] the list [SEP], [SEP]

    made, _ = features.make([question(context, "j b")], tokenizer, length=15, stride=5)

    assert [feature.words[0] for feature in made] == [0, 5, 10]
    assert [len(feature.tokens) for feature in made] == [15, 15, 15]
    counts = np.zeros(20, int)
    for feature in made:
        counts[feature.words[feature.has_max_context]] += 1
    assert counts.tolist() == [1] * 20
    # The answer is words 9 and 10, which only the second window holds both.
    assert [feature.answer for feature in made] == [(0, 0), (4 + 4, 4 + 5), (0, 0)]


def test_an_answer_is_narrowed_to_its_tokens():
    (feature,), _ = features.make(
        [question("is paris, france", "paris")], pretrained_models.tokenizer()
    )

    first, last = feature.answer
    tokens = pretrained_models.TOKENS
    assert [tokens[token] for token in feature.tokens[first : last + 1]] == ["paris"]


@pytest.mark.parametrize(
    "tokens, words, expected",
    [
        (["ste", "##ve", "smith"], ["(Steve", "Smith's)"], "Steve Smith"),
        (["10"], ["$10,000."], "10"),
        (["cafe"], ["Café!"], "Café"),
        (["absent"], ["Other", "words"], "Other words"),
    ],
)
def test_the_text_of_an_answer_is_that_of_the_paragraph(tokens, words, expected):
    assert realign.final_text(tokens, words, pretrained_models.tokenizer()) == expected


def test_answers_are_the_best_allowed_spans_and_null_odds_compare_with_cls():
    tokenizer = pretrained_models.tokenizer()
    asked = [question("paris is in france", "france")]
    made, words = features.make(asked, tokenizer)  # [CLS] the list [SEP] paris is in france
    start, end = np.full((2, 1, 12), -9, np.float32)
    start[0, [0, 2, 4, 7]] = 1, 8, 3, 2  # token 2 is of the question
    end[0, [0, 5, 7]] = 2, 1, 4

    found = answers.decode(asked, made, words, start, end, tokenizer)

    texts = [each["text"] for each in found.lists["q"]]
    assert texts[:3] == ["paris is in france", "france", "paris is"]
    assert sum(each["probability"] for each in found.lists["q"]) == pytest.approx(1)
    assert found.null_odds["q"] == pytest.approx((1 + 2) - (3 + 4))
    assert found.predictions(-3.0)["q"] == "paris is in france"
    assert found.predictions(-5.0)["q"] == ""


def test_a_wrong_answer_start_is_repaired_where_the_answer_is_unique():
    right = data.Question("a", "one two two", "q", (("one", 0),), False)
    moved = data.Question("b", "one two two", "q", (("one", 4),), False)
    unclear = data.Question("c", "one two two", "q", (("two", 5),), False)
    absent = data.Question("d", "one two two", "q", (("six", 0),), False)

    kept, starts = data.with_answers([right, moved, unclear, absent], "f", is_v2=False)

    assert [each.answers for each in kept] == [(("one", 0),)] * 2
    assert starts == data.Starts(repaired=["b"], dropped=["c", "d"])


def test_training_needs_answers_except_for_impossible_questions_of_v2():
    asked = data.Question("a", "one", "q", (), True)

    assert data.with_answers([asked], "f", is_v2=True)[0] == [asked]
    with pytest.raises(InputError, match="question a has no answer"):
        data.with_answers([asked], "f", is_v2=False)


@pytest.mark.parametrize(
    "content, expected",
    [
        ("{", "it is not JSON"),
        ('{"version": "1.1"}', "missing required field data; expected a SQuAD file"),
        ('{"data": []}', "has no questions"),
        (json.dumps({"data": [{"paragraphs": [{"context": "c", "qas": [
            {"id": "x", "question": "q", "answers": []}] * 2}]}]}), "'x' 2 times"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_squad_file_is_one_line(tmp_path, content, expected):
    path = tmp_path / "train.json"
    path.write_text(content)

    with pytest.raises(InputError, match=expected):
        data.read(path)


@pytest.mark.parametrize("version, task", [("v1.1", "squad1"), ("v2.0", "squad2")])
def test_logits_of_all_windows_become_scores_and_files(tmp_path, version, task):
    folder = small_tasks.squad(tmp_path / "squad", version=version)
    squad = problem.read(task, folder, pretrained_models.tokenizer(), 32)
    dev = squad.dev["dev"]
    logits = np.zeros((len(dev) + 1, 32, 2), np.float32)
    for number, (first, last) in enumerate(dev.labels):
        logits[number, first, 0] = logits[number, last, 1] = 5
    numbers = np.append(np.arange(len(dev)), -1)[::-1]
    values = dict(loss=0.25, numbers=numbers, logits=logits[::-1])

    scores = squad.score("dev", values)
    files = squad.write(tmp_path, "dev", "dev", values)
    shown = squad.details("dev", values)["nbest"]

    assert scores["loss"] == 0.25
    assert {scores[name] for name in scores if name.endswith(("f1", "exact"))} == {100}
    assert len(json.loads(files[0].read_text())) == len(shown) == 8
    names = {file.name for file in files}
    assert names == {"predictions.json", "nbest.json"} | (
        {"null_odds.json"} if task == "squad2" else set()
    )
    best = json.loads(files[1].read_text())["dev1"][0]
    assert best["text"] == shown[1]["best"][0]["text"] in shown[1]["answers"]


def test_a_folder_without_squad_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match="has no train-v2.0.json"):
        problem.read("squad2", tmp_path, pretrained_models.tokenizer(), 32)
