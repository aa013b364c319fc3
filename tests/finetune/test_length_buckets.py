"""Batches of similar length: an order that resumes anywhere, and losses without padding."""

import jax
import numpy as np
import pretrained_models
import pytest
import small_tasks

from bertgrow.finetune import buckets, sequences, stream, tasks
from bertgrow.models import task_heads

SIZES = np.random.default_rng(0).integers(3, 31, 101)
LENGTHS = (8, 16, 24, 32)


def rows(sizes=SIZES, labels=None):
    """Sequences of the given sizes; each begins with its own number."""
    tokens = [np.full(size, number, np.int32) for number, size in enumerate(sizes)]
    return sequences.join(tokens, sizes // 2, labels)


def shuffled(sizes=SIZES, batch=8):
    return stream.Shuffled(rows(sizes), batch=batch, lengths=LENGTHS, pad_id=0, seed=3)


def taken(order, steps, position=None):
    position, addresses = position or order.start(), []
    for _ in range(steps):
        found, position = order.take(position, order.batch)
        addresses.append(found)
    return np.concatenate(addresses), position


def test_every_epoch_has_each_sequence_once_in_another_order():
    numbers = taken(shuffled(), 38)[0][:, 0]  # 304 of three epochs of 101

    epochs = [numbers[start : start + 101] for start in (0, 101, 202)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(101))
    assert epochs[0].tolist() != epochs[1].tolist()


@pytest.mark.parametrize("done", [1, 12, 13, 30])
def test_a_run_continues_at_any_batch(done):
    everything, _ = taken(shuffled(), 38)

    _, position = taken(shuffled(), done)
    others, _ = taken(shuffled(), 38 - done, position)

    assert position == {"row": 8 * done, "cursors": []}
    np.testing.assert_array_equal(others, everything[8 * done :])


def test_a_batch_has_sequences_of_similar_length_and_fits_the_longest():
    addresses, _ = taken(shuffled(), 12)
    by_batch = addresses.reshape(12, 8, 2)

    for batch in by_batch:
        tokens = SIZES[batch[:, 0]]
        assert set(batch[:, 1]) == {min(length for length in LENGTHS if length >= max(tokens))}
    spreads = [np.ptp(SIZES[batch[:, 0]]) for batch in by_batch]
    assert np.mean(spreads) < 12  # 22 in batches drawn at random
    assert len(set(by_batch[:, 0, 1])) > 2
    assert by_batch[:, 0, 1].tolist() != sorted(by_batch[:, 0, 1])


def test_the_plan_counts_batches_and_padding():
    plan = shuffled(sizes=np.array([5, 5, 12, 16, 30, 32]), batch=1).plan(6)

    assert plan.batches == {8: 2, 16: 2, 32: 2}
    assert plan.padding == pytest.approx(1 - 100 / 112)
    assert plan.padding_of_one == pytest.approx(1 - 100 / 192)
    assert {length: len(batch["tokens"][0]) for length, batch in plan.firsts.items()} == {
        8: 8, 16: 16, 32: 32
    }  # fmt: skip
    assert "8, 16, 32 tokens" in plan.describe()
    assert "10.7% of the tokens are padding (47.9% with one" in plan.describe()


def test_processes_fill_their_parts_of_a_batch_up_to_one_length():
    order = shuffled()
    addresses, _ = taken(order, 1)

    whole = order.read(addresses)
    parts = [order.read(addresses[:3]), order.read(list(addresses[3:]))]

    for name, array in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), array)


def test_held_out_batches_have_every_sequence_once_the_shortest_first():
    batches = sequences.batches(rows(), batch=8, lengths=LENGTHS, pad_id=0)

    lengths = [batch["tokens"].shape for batch in batches]
    assert lengths == sorted(lengths) and len(set(lengths)) == 4
    numbers = np.concatenate([batch["numbers"] for batch in batches])
    assert sorted(numbers) == [-1, -1, -1, *range(101)]


@pytest.mark.parametrize(
    "longest, limit, expected",
    [
        (12, 32, (8, 16)),
        (33, 64, (8, 16, 24, 32, 40)),
        (120, 128, (8, 16, 24, 32, 48, 64, 96, 120)),
        (380, 384, (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)),
        (30, 30, (8, 16, 24, 30)),
    ],
)
def test_lengths_are_few_and_end_with_that_of_the_longest_sequence(longest, limit, expected):
    assert buckets.lengths([rows(np.array([3])), rows(np.array([longest]))], limit) == expected


@pytest.mark.parametrize("head", [pytest.param("classifier", marks=pytest.mark.slow), "spans"])
def test_a_shorter_batch_has_the_loss_and_the_gradients_of_a_longer_one(head):
    sizes, draw = np.array([5, 8, 3, 7]), np.random.default_rng(1)
    labels = np.array([0, 1, 1, 0]) if head == "classifier" else np.array([[0, 0], [2, 4]] * 2)
    examples = rows(sizes, labels.astype(np.int32))._replace(
        tokens=draw.integers(5, small_tasks.CONFIG.vocab_size, sizes.sum()).astype(np.int32)
    )
    network = task_heads.HEADS[head](
        pretrained_models.of(small_tasks.CONFIG).network, width=16, outputs=2
    )
    losses = dict(classifier=tasks.classes, spans=tasks.spans)[head]
    task = tasks.make(network, losses, length=32)
    params = network.init(jax.random.key(0))

    def of_length(length):
        batch = examples.batch(np.arange(4), length, small_tasks.CONFIG.pad_id)

        @jax.jit
        def values(params):
            loss = lambda params: task.loss(params, (), task.prepare(batch), None, 0)  # noqa: E731
            (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(params)
            return metrics, gradients, task.evaluate(params, (), batch)["logits"][0]

        return values(params)

    (short, gradients, logits), (long, expected, same) = of_length(8), of_length(32)

    assert (float(short.pop("padding")), float(long.pop("padding"))) == pytest.approx(
        (1 - 23 / 32, 1 - 23 / 128)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), short, long)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), gradients, expected
    )
    np.testing.assert_allclose(logits, same, rtol=1e-5, atol=1e-6)
