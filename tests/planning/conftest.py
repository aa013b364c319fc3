"""The plan of BERT-base with CompoundGrow, made once."""

import plans
import pytest

from bertgrow.planning import estimate, hardware


@pytest.fixture(scope="session")
def base():
    """Plan of `bert_base_grow` for 8 chips v5e."""
    settings = plans.published("bert_base_grow")
    return estimate.make(settings, device=hardware.TABLE["v5e"], chips=8, price=1.2)
