"""Counts how many epochs of each token store a plan reads."""

from bertgrow.core import units


def add(plan, stores, weights):
    """Adds `stores` to a plan: folder, training tokens and epochs of each store.

    Epochs are the tokens of all sequences divided by the tokens of the store. A run reads
    somewhat less: this count includes padding, [CLS] and [SEP], and pairs take random segments.

    Args:
      plan: plan with `tokens`.
      stores: list of opened `Store`s.
      weights: sampling weight of each store, a number above 0.
    """
    plan["stores"] = []
    for store, weight in zip(stores, weights, strict=True):
        size = store.meta["splits"]["train"]["tokens"]
        epochs = weight / sum(weights) * plan["tokens"] / size
        plan["stores"].append(dict(store=str(store.folder), tokens=size, epochs=epochs))


def summary(plan):
    """Summary lines for `planning.table`."""
    for row in plan.get("stores", ()):
        yield (
            f"at most {units.plain(row['epochs'])} epochs of {row['store']}, which has "
            f"{units.si(row['tokens'])} training tokens"
        )
