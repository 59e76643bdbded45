"""Signatures that were used: a captured request is refused when it comes again, honest bursts are not.

The SDKs sign with TC3 in whole seconds and without a nonce, so equal requests of one second have equal signatures. A
request that only reads may therefore come again for a few seconds; whatever changes something may not.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from chalicelib.api.signature import MAX_SKEW, Claim
from chalicelib.errors import SignatureExpire

BURST_SECONDS: Final = 5
"""How long after its first use a signature may come again, for what only reads."""
MAX_REMEMBERED: Final = 200_000


class Replays:
    """The signatures that this process has accepted and that are still within their 300 seconds."""

    def __init__(
        self, *, most: int = MAX_REMEMBERED, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._monotonic = monotonic
        self._seen: OrderedDict[bytes, float] = OrderedDict()
        """A hash of the signature -> when it was used first, oldest first."""
        self._lock = threading.Lock()

    def admit(self, claim: Claim, *, is_read: bool) -> None:
        """Remember a signature that was verified; SignatureExpire if it was used before.

        The key has nothing of the action: TC3 does not sign its name, and a signature that served to read must not
        serve to write.
        """
        text = f"{claim.secret_id}\n{claim.timestamp}\n{claim.signature}"
        key = hashlib.sha256(text.encode()).digest()[:16]
        now = self._monotonic()
        with self._lock:
            # A timestamp may lie 300 seconds ahead, and counts for 300 seconds more.
            while self._seen and next(iter(self._seen.values())) < now - 2 * MAX_SKEW:
                self._seen.popitem(last=False)
            first = self._seen.get(key)
            if first is None:
                self._seen[key] = now
                if len(self._seen) > self._most:
                    self._seen.popitem(last=False)
        if first is not None and not (is_read and now - first <= BURST_SECONDS):
            raise SignatureExpire("This signature was used before: sign each request anew.")
