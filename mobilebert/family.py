"""The kind of model that this package brings: MobileBERT, by its entry point."""

from bertgrow.contracts import Family
from mobilebert import nn as model
from mobilebert import flops, objectives, settings, teaching

mobilebert = Family(
    config=model.MobileBertConfig,
    network=model.network,
    sizes=model.MobileBertConfig.sizes,
    flops=flops.forward,
    objectives=objectives.OBJECTIVES,
    sections={"transfer": settings.TransferConfig},
    stages=teaching.stages_to_run,
)
