"""When to tell how far a long work is, in a log that nobody wants to fill."""

from datetime import timedelta
from time import monotonic

_FIRST, _RAREST = 10, 600
"""Seconds until the first time, and between two at most."""


class Seldom:
    """After ten seconds, for whoever waits for it; then each time that twice as much has passed.

    At most ten minutes lie between two times. The clock starts with the object.
    """

    def __init__(self) -> None:
        self._begun, self._due = monotonic(), float(_FIRST)
        self.passed = 0.0
        """Seconds from the start to the last question."""

    def is_time(self) -> bool:
        """Whether to tell now; asking changes when the next time is."""
        self.passed = monotonic() - self._begun
        if self.passed < self._due:
            return False
        self._due = self.passed + min(self.passed, _RAREST)
        return True

    def left(self, done: float, total: float) -> str:
        """The time left, at the pace so far, as ``"1:02:03 left"``.

        Args:
            done: how much is done, above 0.
            total: how much there is.
        """
        return f"{timedelta(seconds=round(self.passed / done * (total - done)))} left"
