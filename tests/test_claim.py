"""The main claim in a minute: a grown BERT reaches the same held-out loss at lower cost.

    python tests/test_claim.py      # trains both arms again and writes golden/claim.json

The margin is a third of what that calibration gained.
"""

import json
import platform
import sys
import tempfile
from pathlib import Path

import jax
import pytest
import stdlib_prose

from bertgrow import cli
from bertgrow.data.corpus import prepare

RECIPE = Path(__file__).with_name("claim_recipe.py")
CALIBRATION = Path(__file__).with_name("golden") / "claim.json"


def compare(folder):
    """Trains both arms in `folder`; the figures of compare.json that the claim is about."""
    text = stdlib_prose.write(folder / "stdlib.txt")
    store = prepare.prepare([str(text)], folder / "store", vocab_size=200, held_out=0.15)
    arms = [f"scratch={RECIPE}:scratch", f"grown={RECIPE}:grown"]
    options = [f"--config.data.store={store.folder}", "--workdir", str(folder / "arms")]
    assert cli.main(["compare", "--arms", *arms, *options]) == 0
    arms = json.loads((folder / "arms" / "compare.json").read_text())["arms"]
    against = arms[1]["against_first"]
    return {
        "unigram": arms[0]["unigram"],
        "mask_loss": {arm["name"]: arm["mask_loss"] for arm in arms},
        "obstacle": against["obstacle"],
        # Not of seconds, which depend on what else the machine did.
        "speed_up": {c: x for c, x in against["speed_up"].items() if c != "seconds"},
    }


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_growing_gains_a_third_of_what_the_calibration_gained_or_more(tmp_path, monkeypatch):
    calibrated = json.loads(CALIBRATION.read_text())["found"]
    monkeypatch.delenv("XLA_FLAGS")  # a step of optimised code takes a third of the time

    comparison = compare(tmp_path)

    # Another processor or Python (its docstrings are the text) takes another path down, so
    # the figures of the calibration are not repeated to the digit. Its seed gained 88 %,
    # two others 107 % and 118 %; a third of 88 lies well below all.
    assert not comparison["obstacle"]
    gained = comparison["speed_up"]["flops"] - 1
    assert gained >= (calibrated["speed_up"]["flops"] - 1) / 3, comparison


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch_folder:
        figures = compare(Path(scratch_folder))
    made = {
        "command": "python tests/test_claim.py",
        "python": platform.python_version(),
        "jax": jax.__version__,
        "found": figures,
    }
    CALIBRATION.write_text(json.dumps(made, indent=1) + "\n")
    sys.exit(bool(figures["obstacle"]))
