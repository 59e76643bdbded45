"""Request rates: a token bucket for each account and action."""

import threading

import pytest

from chalicelib.api import throttle
from chalicelib.api.throttle import DEFAULT_RATE, RATES, Throttle
from chalicelib.errors import RequestLimitExceeded

# Requests per second, as each action's page of the product document says.
DOCUMENTED = {
    "CreateSecret": 100,
    "DeleteSecret": 50,
    "DeleteSecretVersion": 50,
    "DescribeSecret": 40,
    "DisableSecret": 50,
    "EnableSecret": 50,
    "GetRegions": 20,
    "GetSecretValue": 300,
    "GetServiceStatus": 50,
    "ListSecretVersionIds": 40,
    "ListSecrets": 30,
    "PutSecretValue": 100,
    "RestoreSecret": 50,
    "UpdateDescription": 20,
    "UpdateSecret": 50,
}


class Timer:
    """A monotonic clock that moves only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def timer() -> Timer:
    return Timer()


def admitted(gate: Throttle, action: str, most: int = 2000, account: str = "1") -> int:
    """How many calls in a row get through."""
    for count in range(most):
        try:
            gate.admit(account, action)
        except RequestLimitExceeded:
            return count
    return most


@pytest.mark.parametrize(("action", "rate"), DOCUMENTED.items())
def test_the_documented_rates(timer: Timer, action: str, rate: int) -> None:
    gate = Throttle({}, monotonic=timer)
    assert admitted(gate, f"ssm.{action}") == rate
    timer.now += 1
    assert admitted(gate, f"ssm.{action}") == rate


def test_rates_are_for_known_names_only() -> None:
    assert {name.removeprefix("ssm.") for name in RATES if name.startswith("ssm.")} == set(DOCUMENTED)


def test_what_has_no_rate_of_its_own(timer: Timer) -> None:
    assert admitted(Throttle({}, monotonic=timer), "kms.Encrypt") == DEFAULT_RATE == 100
    assert admitted(Throttle({}, monotonic=timer), "cam.ListUsers") == 20
    assert admitted(Throttle({}, monotonic=timer), "cam.CreateAccessKey") == 5
    assert admitted(Throttle({"cam.*": 7}, monotonic=timer), "cam.CreateAccessKey") == 7


def test_tokens_come_back_evenly(timer: Timer) -> None:
    gate = Throttle({"ssm.GetRegions": 10}, monotonic=timer)
    assert admitted(gate, "ssm.GetRegions") == 10
    timer.now += 0.25
    assert admitted(gate, "ssm.GetRegions") == 2
    timer.now += 0.0625
    assert admitted(gate, "ssm.GetRegions") == 1
    timer.now += 3600
    assert admitted(gate, "ssm.GetRegions") == 10


def test_refusals_cost_nothing(timer: Timer) -> None:
    gate = Throttle({"ssm.GetRegions": 1}, monotonic=timer)
    assert admitted(gate, "ssm.GetRegions") == 1
    for _ in range(50):
        assert admitted(gate, "ssm.GetRegions") == 0
        timer.now += 0.02
    timer.now += 0.01
    assert admitted(gate, "ssm.GetRegions") == 1


def test_accounts_and_actions_are_apart(timer: Timer) -> None:
    gate = Throttle({"ssm.*": 3}, monotonic=timer)
    for account in ("1", "2"):
        for action in ("ssm.CreateSecret", "ssm.DeleteSecret"):
            assert admitted(gate, action, account=account) == 3


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"ssm.CreateSecret": 7}, 7),
        ({"ssm.*": 5}, 5),
        ({"ssm.CreateSecret": 7, "ssm.*": 5}, 7),
        ({"kms.*": 5}, 100),
        ({"ssm.CreateSecret": 0.01}, 1),
    ],
)
def test_settings_come_before_defaults(timer: Timer, rates: dict[str, float], expected: int) -> None:
    assert admitted(Throttle(rates, monotonic=timer), "ssm.CreateSecret") == expected


def test_a_rate_below_one_is_one_call_now_and_then(timer: Timer) -> None:
    gate = Throttle({"ssm.GetRegions": 0.1}, monotonic=timer)
    assert admitted(gate, "ssm.GetRegions") == 1
    timer.now += 9.9
    assert admitted(gate, "ssm.GetRegions") == 0
    timer.now += 0.2
    assert admitted(gate, "ssm.GetRegions") == 1


def test_it_can_be_off(timer: Timer) -> None:
    assert admitted(Throttle({"ssm.GetRegions": 1}, enabled=False, monotonic=timer), "ssm.GetRegions") == 2000


def test_the_message_names_the_rate(timer: Timer) -> None:
    gate = Throttle({"ssm.GetRegions": 1.5}, monotonic=timer)
    gate.admit("1", "ssm.GetRegions")
    with pytest.raises(RequestLimitExceeded, match=r"^More than 1\.5 requests of this action in one second"):
        gate.admit("1", "ssm.GetRegions")


def test_memory_is_bounded(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quietest accounts are forgotten first, so that the busiest one does not start afresh."""
    monkeypatch.setattr(throttle, "_MAX_BUCKETS", 3)
    gate = Throttle({"ssm.*": 1}, monotonic=timer)
    gate.admit("busy", "ssm.GetRegions")
    for account in ("a", "b", "c", "d"):
        gate.admit(account, "ssm.GetRegions")
        assert admitted(gate, "ssm.GetRegions", account="busy") == 0
    assert admitted(gate, "ssm.GetRegions", account="a") == 1


def test_threads_share_the_tokens(timer: Timer) -> None:
    gate = Throttle({"ssm.*": 50}, monotonic=timer)
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(admitted(gate, "ssm.GetRegions", 40))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 50
