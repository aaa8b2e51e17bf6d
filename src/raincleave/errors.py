"""The errors raincleave raises on purpose: one sentence each, made to be shown as it stands."""


class RaincleaveError(Exception):
    """Base of every error a user can cause; the command line prints it without a traceback."""


class ImageError(RaincleaveError, ValueError):
    """An image, array or tensor that cannot be read, written or derained."""


class CheckpointError(RaincleaveError, ValueError):
    """A weight file or checkpoint name that cannot be found, trusted or fitted to the model."""


class DataError(RaincleaveError, ValueError):
    """A dataset folder, list or pair that is missing, incomplete or of an unknown layout."""


class ConfigError(RaincleaveError, ValueError):
    """A setting, argument or recipe that does not exist or makes no sense."""


class TrainingError(RaincleaveError, RuntimeError):
    """A training that cannot go on."""
