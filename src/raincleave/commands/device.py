"""``--device``: where a command computes."""

from typing import TYPE_CHECKING

from raincleave.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from raincleave.models import Derainer


def device_named(name: str) -> "torch.device":
    """The device that ``--device`` names, ``"auto"`` being the GPU if there is one.

    Raises:
        ConfigError: it cannot be used.
    """
    import torch

    if name == "auto":
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"--device {name} cannot be used here: {reason}.") from error


def load_on(model: str, device: str) -> "Derainer":
    """Load a model and put it on the device of that name, see `device_named`.

    Raises:
        CheckpointError: the model cannot be loaded.
        ConfigError: the device cannot be used.
    """
    from raincleave.hub import load

    return load(model, device=device_named(device))
