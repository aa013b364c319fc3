"""The section of a report on sentences that the model filled."""

from types import SimpleNamespace

from bertgrow.reporting import filled


def row(step, *predicted, stage="0", tokens=("[CLS]", "a", "walk", "##ing", "<man>")):
    samples = [dict(tokens=list(tokens), places=[1, 3], predicted=list(predicted))]
    return dict(step=step, stage=stage, split="samples", samples=samples)


def section(rows):
    return "".join(filled.section([SimpleNamespace(name="run", rows=rows)]))


def test_predicted_tokens_are_marked_right_or_wrong_with_the_token_of_the_text():
    page = section([row(100, "a", "##er")])

    assert "<td>100</td>" in page
    assert '[CLS] <b>a</b> walk<span class="bad">##er</span> (ing) &lt;man&gt;' in page


def test_tokens_of_sentencepiece_are_joined_at_their_marks():
    pieces = ("[CLS]", "\u2581the", "\u2581walk", "ing", "\u2581man")

    assert "[CLS] <b>the</b> walk<b>ing</b> man" in section(
        [row(1, "\u2581the", "ing", tokens=pieces)]
    )


def test_some_evaluations_of_the_last_stage_are_shown_with_the_last_one():
    rows = [row(step, "b", "c", stage="0") for step in range(5)]
    rows += [row(step, "b", "c", stage="1") for step in range(100, 113)]

    page = section(rows)

    assert page.count("<tr>") == 1 + filled.SHOWN
    assert "<td>112</td>" in page and "<td>4</td>" not in page
    assert section([dict(step=1, stage="0", split="eval")]) == ""
