"""Answers kept for when they are asked for again, within a budget of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict


class Recent:
    """Bytes by key; those used longest ago are forgotten when all together are more than ``most`` bytes."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> bytes | None:
        """What was kept; None if nothing was, or if it was forgotten."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: bytes, content: bytes) -> bytes:
        """Keep an answer, and forget others for it; one larger than the budget is not kept."""
        with self._lock:
            self.held += len(content) - len(self._kept.pop(key, b""))
            self._kept[key] = content
            while self.held > self.most:
                self.held -= len(self._kept.popitem(last=False)[1])
        return content
