"""The kind of model that this package brings: BERT, by its entry point."""

from bertgrow import flops
from bertgrow.contracts import Family
from bertgrow.nn import bert as model

bert = Family(
    config=model.BertConfig,
    network=model.network,
    sizes=model.sizes,
    flops=flops.forward,
)
