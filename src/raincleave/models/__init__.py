"""The five published systems, each a `Derainer`."""

from raincleave.models.brn import BRN
from raincleave.models.derainer import Derainer, Stage
from raincleave.models.drn import DRN
from raincleave.models.resguidenet import ResGuideNet
from raincleave.models.rranet import RRANet
from raincleave.models.srn import SRN

__all__ = ["BRN", "DRN", "SRN", "Derainer", "RRANet", "ResGuideNet", "Stage"]
