"""Registers MobileBERT as a model family, through an entry point."""

from bertgrow.core.types import Family
from mobilebert.distill import objectives, settings, teachers
from mobilebert.models import flops, names
from mobilebert.models import mobilebert as model

mobilebert = Family(
    config=model.MobileBertConfig,
    network=model.network,
    sizes=model.MobileBertConfig.sizes,
    flops=flops.forward,
    layouts=names.LAYOUTS,
    objectives=objectives.OBJECTIVES,
    sections={"transfer": settings.TransferConfig},
    stages=teachers.stages_to_run,
)
