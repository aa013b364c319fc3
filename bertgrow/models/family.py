"""The BERT model family, as registered by its entry point."""

from bertgrow.core import flops
from bertgrow.core.types import Family
from bertgrow.models import bert as model
from bertgrow.models import names

bert = Family(
    config=model.BertConfig,
    network=model.network,
    sizes=model.sizes,
    flops=flops.forward,
    layouts=names.LAYOUTS,
)
