"""KEYSTEAD_REFUSE_REPLAYS: what comes again and what may come again."""

import threading
from typing import Any

import pytest

from chalicelib.api.replays import BURST_SECONDS, Replays
from chalicelib.api.signature import Claim
from chalicelib.clock import ManualClock
from chalicelib.errors import SignatureExpire
from chalicelib.settings import Settings
from tests.calls import METHODS, ask, code, tc3, v1
from tests.installation import Installation


class Seconds:
    """A monotonic clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def claim(signature: str = "s", secret_id: str = "AKIDa", timestamp: int = 1) -> Claim:
    members: dict[str, Any] = dict.fromkeys(("token", "action", "version", "region", "language"), "")
    return Claim(
        **members,
        secret_id=secret_id,
        timestamp=timestamp,
        algorithm="TC3-HMAC-SHA256",
        parameters=None,
        signature=signature,
    )


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def replays(seconds: Seconds) -> Replays:
    return Replays(monotonic=seconds)


def test_a_write_comes_once(replays: Replays) -> None:
    replays.admit(claim(), is_read=False)
    with pytest.raises(SignatureExpire):
        replays.admit(claim(), is_read=False)
    replays.admit(claim("other"), is_read=False)
    replays.admit(claim(secret_id="AKIDb"), is_read=False)
    replays.admit(claim(timestamp=2), is_read=False)


def test_a_read_comes_again_for_a_few_seconds(replays: Replays, seconds: Seconds) -> None:
    for _ in range(100):
        replays.admit(claim(), is_read=True)
    seconds.now += BURST_SECONDS
    replays.admit(claim(), is_read=True)
    seconds.now += 0.1
    for later in (0, 100, 450):
        seconds.now += later
        with pytest.raises(SignatureExpire):
            replays.admit(claim(), is_read=True)


def test_a_signature_of_a_read_serves_no_write(replays: Replays) -> None:
    """The SDKs do not sign the action's name: DescribeSecret's request could come again as DisableSecret."""
    replays.admit(claim(), is_read=True)
    with pytest.raises(SignatureExpire):
        replays.admit(claim(), is_read=False)


def test_it_remembers_longer_than_a_signature_is_valid(replays: Replays, seconds: Seconds) -> None:
    """A timestamp may lie 300 seconds ahead."""
    replays.admit(claim(), is_read=False)
    seconds.now += 600
    with pytest.raises(SignatureExpire):
        replays.admit(claim(), is_read=False)
    seconds.now += 1
    replays.admit(claim("other"), is_read=False)
    assert len(replays._seen) == 1


def test_its_memory_is_bounded(seconds: Seconds) -> None:
    replays = Replays(most=10, monotonic=seconds)
    for n in range(50):
        replays.admit(claim(str(n)), is_read=False)
    assert len(replays._seen) == 10
    with pytest.raises(SignatureExpire):
        replays.admit(claim("40"), is_read=False)


def test_of_many_at_once_one_wins(replays: Replays) -> None:
    won = []
    barrier = threading.Barrier(8)

    def run() -> None:
        barrier.wait()
        try:
            replays.admit(claim(), is_read=False)
            won.append(1)
        except SignatureExpire:
            pass

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [1]


@pytest.fixture
def guarded(clock: ManualClock) -> Installation:
    return Installation(clock, Settings(throttle=False, refuse_replays=True))


@pytest.mark.parametrize("sign", METHODS.values(), ids=METHODS)
def test_every_signature_method(guarded: Installation, sign: Any) -> None:
    parameters = {"Alias": "k"}
    request = sign(guarded.root, guarded.clock.now(), "kms", "CreateKey", parameters)
    assert code(ask(guarded.gateway, request)) == ""
    assert code(ask(guarded.gateway, request)) == "AuthFailure.SignatureExpire"
    burst = sign(guarded.root, guarded.clock.now(), "kms", "ListKeys", {})
    assert {code(ask(guarded.gateway, burst)) for _ in range(20)} == {""}


def test_another_nonce_is_another_request(guarded: Installation) -> None:
    for nonce in ("0", "1"):
        common = {"Nonce": nonce}
        request = v1(
            guarded.root, guarded.clock.now(), "kms", "CreateKey", {"Alias": f"k{nonce}"}, common=common
        )
        assert code(ask(guarded.gateway, request)) == ""


def test_what_was_not_signed_rightly_uses_nothing_up(guarded: Installation) -> None:
    """Else whoever sees a signature coming could have it refused."""
    request = tc3(guarded.root, guarded.clock.now(), "kms", "CreateKey", {"Alias": "k"})
    forged = request.__class__(
        request.method, request.path, request.queries, request.headers, b'{"Alias": "x"}', request.source_ip
    )
    assert code(ask(guarded.gateway, forged)) == "AuthFailure.SignatureFailure"
    assert code(ask(guarded.gateway, request)) == ""


def test_it_is_off_unless_wanted(installation: Installation) -> None:
    request = tc3(installation.root, installation.clock.now(), "ssm", "ListSecrets", {})
    assert Settings.from_environment({"KEYSTEAD_REFUSE_REPLAYS": "on"}).refuse_replays
    assert not Settings.from_environment({}).refuse_replays
    disable = tc3(installation.root, installation.clock.now(), "ssm", "DisableSecret", {"SecretName": "x"})
    for _ in range(2):
        assert code(ask(installation.gateway, request)) == ""
        assert code(ask(installation.gateway, disable)) == "ResourceNotFound"
