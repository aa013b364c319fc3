"""Held-out sequences as a model fills them, for the report."""

from bertgrow.train import metrics

SPLIT = metrics.SAMPLES  # of the rows that have them
COUNT, LENGTH = 3, 48  # sequences, and tokens of each


def of_evaluation(filled, tokenizer):
    """Makes the entry `samples` of a row of metrics.jsonl.

    Args:
      filled: int32 [sequences, 2, length], `filled` of an evaluation of masked language
        modelling; the first sequences are the same in every evaluation of a stage.
      tokenizer: of the run.

    Returns:
      A list of dicts: `tokens`, and the predicted tokens with their `places` among them.
    """
    samples = []
    for tokens, predicted in filled[:COUNT, :, :LENGTH].tolist():
        end = next((n for n, id in enumerate(tokens) if id == tokenizer.vocab.pad_id), None)
        places = [place for place, id in enumerate(predicted) if id >= 0]
        samples.append(dict(
            tokens=[tokenizer.tokens[id] for id in tokens[:end]],
            places=places,
            predicted=[tokenizer.tokens[predicted[place]] for place in places],
        ))  # fmt: skip
    return samples
