"""raincleave removes rain from single images.

Examples:
    >>> from raincleave import load
    >>> load("drn-7x7").derain("examples/rainy.png", stages=1).size
    (480, 320)

Names are imported on first use (PEP 562): ``import raincleave`` does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from raincleave.errors import RaincleaveError as RaincleaveError
    from raincleave.hub import derain as derain
    from raincleave.hub import list_models as list_models
    from raincleave.hub import load as load
    from raincleave.models import BRN as BRN
    from raincleave.models import DRN as DRN
    from raincleave.models import SRN as SRN
    from raincleave.models import Derainer as Derainer
    from raincleave.models import ResGuideNet as ResGuideNet
    from raincleave.models import RRANet as RRANet
    from raincleave.models import Stage as Stage

_HOMES = {
    "load": "raincleave.hub",
    "list_models": "raincleave.hub",
    "derain": "raincleave.hub",
    "Derainer": "raincleave.models",
    "Stage": "raincleave.models",
    "DRN": "raincleave.models",
    "SRN": "raincleave.models",
    "BRN": "raincleave.models",
    "ResGuideNet": "raincleave.models",
    "RRANet": "raincleave.models",
    "RaincleaveError": "raincleave.errors",
}
__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - all strings


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'raincleave' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
