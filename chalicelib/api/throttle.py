"""Request rates: one token bucket per account and action, local to the process."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from chalicelib.errors import RequestLimitExceeded

# Requests per second and account. ssm: the product document, each action's page. kms: 100 for all but the
# post-quantum actions (20), cam: 20, and 5 for changes of access keys, as published for the products.
DEFAULT_RATE: Final = 100.0
RATES: Final[Mapping[str, float]] = {
    "ssm.CreateSecret": 100,
    "ssm.DeleteSecret": 50,
    "ssm.DeleteSecretVersion": 50,
    "ssm.DescribeSecret": 40,
    "ssm.DisableSecret": 50,
    "ssm.EnableSecret": 50,
    "ssm.GetRegions": 20,
    "ssm.GetSecretValue": 300,
    "ssm.GetServiceStatus": 50,
    "ssm.ListSecretVersionIds": 40,
    "ssm.ListSecrets": 30,
    "ssm.PutSecretValue": 100,
    "ssm.RestoreSecret": 50,
    "ssm.UpdateDescription": 20,
    "ssm.UpdateSecret": 50,
    "cam.*": 20,
    "cam.CreateAccessKey": 5,
    "cam.DeleteAccessKey": 5,
    "cam.UpdateAccessKey": 5,
    "kms.PostQuantumCryptoDecrypt": 20,
    "kms.PostQuantumCryptoEncrypt": 20,
    "kms.PostQuantumCryptoSign": 20,
    "kms.PostQuantumCryptoVerify": 20,
}
_MAX_BUCKETS: Final = 100_000


class Throttle:
    """Lets through `rate` calls a second, and as many at once after a quiet second."""

    def __init__(
        self,
        rates: Mapping[str, float],
        *,
        enabled: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rates = rates
        self._enabled = enabled
        self._monotonic = monotonic
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, account: str, action: str) -> None:
        """Take one token of (account, action); raise RequestLimitExceeded when there is none."""
        if not self._enabled:
            return
        rate = self._rate(action)
        burst = max(rate, 1.0)
        now = self._monotonic()
        with self._lock:
            tokens, at = self._buckets.pop((account, action), (burst, now))
            tokens = min(burst, tokens + (now - at) * rate)
            admitted = tokens >= 1
            self._buckets[account, action] = (tokens - admitted, now)
            if len(self._buckets) > _MAX_BUCKETS:
                self._buckets.popitem(last=False)
        if not admitted:
            raise RequestLimitExceeded(
                f"More than {rate:g} requests of this action in one second: slow down and try again."
            )

    def _rate(self, action: str) -> float:
        """What the operator set for the action, else for its service (`ssm.*`), else the default of either."""
        everything = action.partition(".")[0] + ".*"
        return (
            self._rates.get(action)
            or self._rates.get(everything)
            or RATES.get(action)
            or RATES.get(everything, DEFAULT_RATE)
        )
