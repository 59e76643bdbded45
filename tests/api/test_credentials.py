"""Credentials are kept for a few seconds, not longer, and not without end."""

import threading
from typing import Any

import pytest

from chalicelib import sessions
from chalicelib.api import credentials as module
from chalicelib.api.credentials import Credentials
from chalicelib.context import IDENTITY
from chalicelib.errors import InvalidSecretId, SecretIdNotFound, TokenFailure
from chalicelib.hsm.port import Damaged
from chalicelib.policy.request import Request
from chalicelib.sessions import FEDERATED_USER, Session
from tests import permissions
from tests.api.test_replays import Seconds
from tests.installation import Installation
from tests.permissions import call, document, statement

TEN = 10


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def found(installation: Installation, seconds: Seconds) -> Credentials:
    service = installation.service
    return Credentials(
        service.table(IDENTITY),
        lambda: service.hsm(IDENTITY),
        service.seals,
        installation.clock,
        cache_seconds=TEN,
        monotonic=seconds,
    )


def may(found: Credentials, secret_id: str, token: str = "", action: str = "ssm:ListSecrets") -> bool:
    caller = found.find(secret_id, token).caller
    assert caller.authority
    resource = f"qcs::ssm:ap-guangzhou:uin/{caller.account}:secret/*"
    return caller.authority.decide(Request(action, resource, caller.uin, caller.account)).allowed


def test_a_policy_counts_and_stops_within_the_time(
    installation: Installation, found: Credentials, seconds: Seconds
) -> None:
    alice = installation.add_user("alice")
    assert not may(found, alice.secret_id)
    policy_id = permissions.allow(installation, alice, statement())
    assert not may(found, alice.secret_id)
    seconds.now += TEN
    assert may(found, alice.secret_id)
    call(installation, "cam", "DetachUserPolicy", PolicyId=policy_id, DetachUin=int(alice.uin))
    seconds.now += TEN - 0.1
    assert may(found, alice.secret_id)
    seconds.now += 0.1
    assert not may(found, alice.secret_id)


def test_a_disabled_key_stops_within_the_time(
    installation: Installation, found: Credentials, seconds: Seconds
) -> None:
    alice = installation.add_user("alice")
    kept = found.find(alice.secret_id, "")
    call(
        installation,
        "cam",
        "UpdateAccessKey",
        TargetUin=int(alice.uin),
        AccessKeyId=alice.secret_id,
        Status="Inactive",
    )
    assert found.find(alice.secret_id, "") is kept
    seconds.now += TEN
    with pytest.raises(SecretIdNotFound):
        found.find(alice.secret_id, "")


def test_a_use_does_not_make_it_last_longer(
    installation: Installation, found: Credentials, seconds: Seconds
) -> None:
    kept = found.find(installation.root.secret_id, "")
    for _ in range(TEN - 1):
        seconds.now += 1
        assert found.find(installation.root.secret_id, "") is kept
    seconds.now += 1
    assert found.find(installation.root.secret_id, "") is not kept


def federated(installation: Installation, policy: str = "", **changes: Any) -> sessions.Credentials:
    root = installation.root
    members: dict[str, Any] = {
        "account": root.uin,
        "uin": root.uin,
        "name": "root",
        "type": FEDERATED_USER,
        "session": "guest",
        "issuer": root.uin,
        "issued_by": root.secret_id,
        "expires_at": installation.clock.now() + 100,
        "policy": policy or document(statement()),
        **changes,
    }
    return sessions.issue(installation.service.hsm(IDENTITY), Session(**members))


def test_a_session_is_what_its_token_says(installation: Installation, found: Credentials) -> None:
    given = federated(installation)
    caller = found.find(given.secret_id, given.token).caller
    assert (caller.account, caller.uin, caller.name) == (installation.root.uin, installation.root.uin, "root")
    assert (caller.type, caller.session, caller.issuer) == (FEDERATED_USER, "guest", installation.root.uin)
    assert not caller.is_root
    assert found.find(given.secret_id, given.token).secret_key == given.secret_key
    assert given.secret_key not in repr(given)
    assert given.token not in repr(given)
    assert given.secret_key not in repr(found.find(given.secret_id, given.token))


def test_a_session_without_rights_of_its_own_has_none(installation: Installation, found: Credentials) -> None:
    """Even a token that the service itself would never make fails closed."""
    given = federated(installation, type="Whatever")
    caller = found.find(given.secret_id, given.token).caller
    assert caller.authority is None
    assert not caller.is_root


def test_two_tokens_of_one_secret_id_are_two(installation: Installation, found: Credentials) -> None:
    given = federated(installation)
    assert may(found, given.secret_id, given.token)
    for token in (given.token[:-4], "x", given.token + "AAAA"):
        with pytest.raises(TokenFailure):
            found.find(given.secret_id, token)
    assert may(found, given.secret_id, given.token)


@pytest.mark.parametrize("secret_id", ["", "akid", "x", "AKI", "\x00AKID"])
def test_what_is_no_secret_id(found: Credentials, secret_id: str) -> None:
    for token in ("", "token"):
        with pytest.raises(InvalidSecretId):
            found.find(secret_id, token)


@pytest.mark.parametrize("secret_id", ["AKID", "AKIDx", "AKID" + "x" * 5000, "AKID#K"])
def test_a_secret_id_that_is_not_there(found: Credentials, secret_id: str) -> None:
    with pytest.raises(SecretIdNotFound):
        found.find(secret_id, "")
    assert not found._cache


def test_the_cache_is_bounded(
    installation: Installation, found: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_CACHED", 5)
    given = [federated(installation) for _ in range(8)]
    for one in given:
        found.find(one.secret_id, one.token)
    assert len(found._cache) == 5
    assert {place[0] for place in found._cache} == {one.secret_id for one in given[3:]}


def test_many_threads_at_once(installation: Installation, found: Credentials, seconds: Seconds) -> None:
    alice = installation.add_user("alice")
    permissions.allow(installation, alice, statement())
    wrong: list[object] = []

    def run() -> None:
        for _ in range(50):
            try:
                if not may(found, alice.secret_id):
                    wrong.append("denied")
            except Exception as error:  # noqa: BLE001 - the test's own thread reports
                wrong.append(error)
            seconds.now += 1

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_users_row_that_was_changed_lets_nobody_in(installation: Installation, found: Credentials) -> None:
    """Fail closed: who may do what is then unknown."""
    import dataclasses

    from chalicelib.table import policies
    from chalicelib.table.port import Expect, Put

    alice = installation.add_user("alice")
    permissions.allow(installation, alice, statement())
    table = installation.service.table(IDENTITY)
    row = table.get(*policies.attachments_row_key(installation.root.uin, f"user/{alice.uin}"))
    assert row is not None
    body = row.body[:-1] + bytes([row.body[-1] ^ 1])
    table.write([Put(dataclasses.replace(row, body=body), Expect.ANY)])
    with pytest.raises(Damaged):
        found.find(alice.secret_id, "")
