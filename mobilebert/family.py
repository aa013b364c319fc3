"""The kind of model that this package brings: MobileBERT, by its entry point."""

from bertgrow.contracts import Family
from mobilebert import flops, nn, objectives, settings, teaching

mobilebert = Family(
    config=nn.MobileBertConfig,
    network=nn.network,
    sizes=nn.MobileBertConfig.sizes,
    flops=flops.forward,
    objectives=objectives.OBJECTIVES,
    sections={"transfer": settings.TransferConfig},
    stages=teaching.stages_to_run,
)
