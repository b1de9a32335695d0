"""A budget of requests: so many at once, and as many again every minute."""

import time
from collections.abc import Hashable
from threading import Lock

MINUTE = 60.0
FEW = 10_000  # callers


class Budget:
    """What each caller has used, in the memory of this process (ITU-T I.371, generic cell rate algorithm).

    A budget that is whole again need not be remembered, so only those who called within the last minute are.
    """

    def __init__(self) -> None:
        self._whole_at: dict[Hashable, float] = {}  # by caller, of the monotonic clock
        self._tidied_above = FEW
        self._turn = Lock()

    def take(self, caller: Hashable, per_minute: int, n: int = 1) -> float:
        """Take n requests from the caller's budget; the seconds to wait where so many are not left, else 0."""
        if not per_minute:
            return 0.0
        now = time.monotonic()
        with self._turn:
            whole_at = max(self._whole_at.get(caller, now), now) + MINUTE * n / per_minute
            if whole_at > now + MINUTE:
                return whole_at - now - MINUTE
            self._whole_at[caller] = whole_at
            if len(self._whole_at) > self._tidied_above:
                self._tidy(now)
        return 0.0

    def _tidy(self, now: float) -> None:
        self._whole_at = {caller: at for caller, at in self._whole_at.items() if at > now}
        self._tidied_above = max(FEW, 2 * len(self._whole_at))
