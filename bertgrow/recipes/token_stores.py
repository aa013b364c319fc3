"""Opens the token stores of a recipe, and parses their weights."""

from bertgrow.core import system_files
from bertgrow.core.errors import InputError
from bertgrow.data.corpus import prepare, store


def open_all(recipe):
    """Opens the stores in `config.data.store`.

    Without a store, a recipe with `config.data.vocab_size` gets one from the default corpus,
    which is built once in the cache folder of the user.

    Args:
      recipe: ConfigDict.

    Returns:
      A list of opened `Store`s with one vocabulary.

    Raises:
      InputError: a store is missing, or the vocabularies differ.
    """
    paths = [path.strip() for path in recipe.data.store.split(",") if path.strip()]
    if not paths:
        if not recipe.data.vocab_size:
            raise InputError(
                "config.data.store is empty; make one with `bertgrow prepare --output STORE` "
                "and pass --config.data.store=STORE"
            )
        paths = [_default_store(recipe.data.vocab_size)]
    stores = [store.Store(path) for path in paths]
    hashes = {
        opened.meta["vocab"]["hash"]: path for opened, path in zip(stores, paths, strict=True)
    }
    if len(hashes) > 1:
        listed = ", ".join(f"{path}: {digest}" for digest, path in hashes.items())
        raise InputError(f"config.data.store mixes vocabularies ({listed}); use one for all")
    return stores


def weights(settings, stores):
    """Parses `config.data.weights`, one number per store; InputError if the counts differ."""
    words = [word for word in settings.data.weights.split(",") if word.strip()]
    try:
        numbers = [float(word) for word in words] or [1.0] * len(stores)
    except ValueError as error:
        raise InputError(f"config.data.weights: {error}; expected numbers") from error
    if len(numbers) != len(stores) or min(numbers) <= 0:
        raise InputError(
            f"config.data.weights has {len(numbers)} numbers for {len(stores)} stores; "
            "give one above 0 for each"
        )
    return numbers


def _default_store(vocab_size):
    path = system_files.user_cache() / f"docs-{vocab_size}"
    if not (path / "store.json").exists():
        print(f"preparing the default corpus once, into {path}", flush=True)
        prepare.prepare(["docs"], path, vocab_size=vocab_size)
    return path
