"""How often the stages of a plan read the stores of its recipe."""

from bertgrow.core import units


def add(plan, stores, weights):
    """Adds `stores` to a plan: folder, training tokens and epochs of each.

    Epochs are the tokens of all sequences over those of the store. A run reads somewhat less:
    padding, [CLS] and [SEP] are counted here, and pairs take random segments.

    Args:
      plan: with `tokens`.
      stores: opened.
      weights: of the sequences that each store gives, one number above 0 a store.
    """
    plan["stores"] = []
    for store, weight in zip(stores, weights, strict=True):
        size = store.meta["splits"]["train"]["tokens"]
        epochs = weight / sum(weights) * plan["tokens"] / size
        plan["stores"].append(dict(store=str(store.folder), tokens=size, epochs=epochs))


def findings(plan):
    """The lines to remember, for `plan_table`."""
    for row in plan.get("stores", ()):
        yield (
            f"at most {units.plain(row['epochs'])} epochs of {row['store']}, which has "
            f"{units.si(row['tokens'])} training tokens"
        )
