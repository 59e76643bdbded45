import itertools
import json
import math
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from chalicelib import bootstrap
from chalicelib.clock import ManualClock
from tests.installation import Installation

from keystead import credentials
from keystead.credentials import Credential, CredentialError, Temporary

from .servers import KeysteadServer


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user without any credentials."""
    for name in ("SECRET_ID", "SECRET_KEY", "TOKEN", "SESSION_TOKEN"):
        monkeypatch.delenv(f"TENCENTCLOUD_{name}", raising=False)
    monkeypatch.delenv("TCCLI_PROFILE", raising=False)
    monkeypatch.setenv("KEYSTEAD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def _tccli(place: Path, profile: str = "default", **members: object) -> None:
    (place / ".tccli").mkdir(exist_ok=True)
    (place / ".tccli" / f"{profile}.credential").write_text(json.dumps(members))


def test_nothing_is_found_where_nothing_is() -> None:
    with pytest.raises(CredentialError, match="TENCENTCLOUD_SECRET_ID"):
        credentials.find()


def test_a_folder_that_may_not_be_looked_into_is_no_place_to_pass_by(
    nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYSTEAD_HOME", "x" * 5000)  # what root may not look into, either
    with pytest.raises(CredentialError, match="cannot be read"):
        credentials.find()
    _tccli(nobody, secretId="id", secretKey="key")
    with pytest.raises(CredentialError, match="cannot be read"):
        credentials.find()


def test_the_environment_comes_first(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tccli(nobody, secretId="AKIDtccli", secretKey="k")
    assert credentials.find().current().secret_id == "AKIDtccli"
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", "AKIDenv")
    with pytest.raises(CredentialError, match="both"):
        credentials.find()
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", "key")
    assert credentials.find().current() == Credential("AKIDenv", "key")
    monkeypatch.setenv("TENCENTCLOUD_TOKEN", "tok")
    assert credentials.find().current().token == "tok"


def test_the_file_of_a_first_start(nobody: Path) -> None:
    installation = Installation(ManualClock(1_800_000_000))
    home = nobody / "home"
    bootstrap._publish(home / "credentials", installation.service, installation.root)
    _tccli(nobody, secretId="AKIDtccli", secretKey="k")
    root = installation.root
    assert credentials.find() == Credential(root.secret_id, root.secret_key)
    assert credentials.from_file(home / "credentials") == credentials.find()


def test_a_broken_file_is_no_place_to_pass_by(nobody: Path) -> None:
    (nobody / "home").mkdir()
    file = nobody / "home" / "credentials"
    _tccli(nobody, secretId="AKIDtccli", secretKey="k")
    for text in ("", "topsecret", "[default]\nsecret_id=AKID\n", "[other]\nsecret_id=a\nsecret_key=b\n"):
        file.write_text(text)
        with pytest.raises(CredentialError, match="no SecretId and SecretKey") as caught:
            credentials.find()
        assert "topsecret" not in str(caught.value)


def test_profiles_of_tccli(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tccli(nobody, secretId="AKIDdefault", secretKey="k")
    _tccli(nobody, "work", secretId="AKIDwork", secretKey="k", token="t")
    assert credentials.from_tccli().current() == Credential("AKIDdefault", "k")
    assert credentials.from_tccli("work").current() == Credential("AKIDwork", "k", "t")
    monkeypatch.setenv("TCCLI_PROFILE", "work")
    assert credentials.find().current().secret_id == "AKIDwork"


@pytest.mark.parametrize(
    "members",
    [
        {"secretId": "AKID", "secretKey": "k", "type": "cvm-role"},
        {"secretId": "AKID", "secretKey": "k", "role-arn": "qcs::cam::uin/1:roleName/r"},
    ],
)
def test_profiles_of_roles_are_refused(nobody: Path, members: dict[str, str]) -> None:
    _tccli(nobody, **members)
    with pytest.raises(CredentialError, match="role"):
        credentials.from_tccli()


def test_an_expiring_login_of_tccli_is_read_again(nobody: Path) -> None:
    _tccli(nobody, secretId="AKID1", secretKey="k", token="t1", type="oauth", expiresAt=4_000_000_000)
    provider = credentials.from_tccli()
    assert isinstance(provider, Temporary)
    assert provider.current().secret_id == "AKID1"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"secretId": 5, "secretKey": "k"}', "\xff"])
def test_files_that_tccli_did_not_write(nobody: Path, text: str) -> None:
    _tccli(nobody)
    (nobody / ".tccli/default.credential").write_text(text, "latin-1")
    with pytest.raises(CredentialError):
        credentials.from_tccli()


@pytest.mark.parametrize("part", ["a b", "a\r\nX-Evil: 1", "密", "a\x00"])
def test_what_does_not_fit_a_header_is_refused(part: str) -> None:
    for parts in ((part, "k", ""), ("i", part, ""), ("i", "k", part)):
        with pytest.raises(CredentialError) as caught:
            Credential(*parts)
        assert part not in str(caught.value)


def test_nothing_secret_is_shown() -> None:
    credential = Credential("AKID", "the-key", "the-token")
    provider = Temporary(lambda: credential)
    provider.current()
    for shown in (repr(credential), str(credential), f"{provider}"):
        assert "AKID" in shown
        assert "the-" not in shown


# Temporary credentials


class Issuer:
    """Makes credentials of 1000 seconds, or fails."""

    def __init__(self) -> None:
        self.now = 0.0
        self.made = 0
        self.is_down = False
        self.life = 1000.0

    def clock(self) -> float:
        return self.now

    def refresh(self) -> Credential:
        if self.is_down:
            raise ConnectionError("the issuer is down")
        self.made += 1
        return Credential(f"AKID{self.made}", "k", "t", self.now + self.life)


def test_refreshed_ahead_of_expiry() -> None:
    issuer = Issuer()
    provider = Temporary(issuer.refresh, ahead=300, clock=issuer.clock)
    assert issuer.made == 0
    for now, wanted in ((0, "AKID1"), (699, "AKID1"), (700, "AKID2"), (1399, "AKID2"), (1400, "AKID3")):
        issuer.now = now
        assert provider.current().secret_id == wanted


def test_the_old_ones_serve_while_the_issuer_is_down_and_no_longer() -> None:
    issuer = Issuer()
    provider = Temporary(issuer.refresh, ahead=300, clock=issuer.clock)
    provider.current()
    issuer.is_down = True
    issuer.now = 999
    assert provider.current().secret_id == "AKID1"
    issuer.now = 1000
    with pytest.raises(ConnectionError):
        provider.current()
    issuer.is_down = False
    assert provider.current().secret_id == "AKID2"


def test_a_failed_refresh_is_not_tried_again_at_once() -> None:
    """An issuer in trouble is asked about every ten seconds while the old ones serve, and at once when they expired."""
    issuer = Issuer()
    asked: list[float] = []

    def refresh() -> Credential:
        asked.append(issuer.now)
        return issuer.refresh()

    provider = Temporary(refresh, ahead=300, clock=issuer.clock)
    provider.current()
    issuer.is_down = True
    for now in range(700, 1000):
        issuer.now = now
        for _ in range(5):
            assert provider.current().secret_id == "AKID1"
    assert asked[:2] == [0, 700]
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked[1:])]
    assert all(5 <= pause <= 11 for pause in pauses)
    assert asked[-1] >= 1000 - 11
    issuer.is_down = False
    issuer.now = 1000
    assert provider.current().secret_id == "AKID2", (
        "an expired one is not given out, whatever failed just now"
    )


def test_credentials_of_a_short_life_are_not_made_for_each_call() -> None:
    issuer = Issuer()
    issuer.life = 60
    provider = Temporary(issuer.refresh, ahead=300, clock=issuer.clock)
    for now in range(120):
        issuer.now = now
        for _ in range(10):
            assert provider.current().expires_at > now
    assert issuer.made <= 1 + 120 // 5


def test_nobody_queues_for_an_issuer_that_is_down() -> None:
    """Ten threads without a valid credential: one attempt, and all of them know."""
    asked, gate = threading.Semaphore(0), threading.Event()
    attempts: list[int] = []

    def refresh() -> Credential:
        attempts.append(1)
        asked.release()
        assert gate.wait(10)
        raise ConnectionError("the issuer is down")

    provider = Temporary(refresh)
    with ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(provider.current)]
        assert asked.acquire(timeout=10)
        begun = threading.Barrier(10)

        def call() -> Credential:
            begun.wait(10)
            return provider.current()

        waiting += [pool.submit(call) for _ in range(9)]
        begun.wait(10)
        time.sleep(0.2)  # until they wait; one that is late makes an attempt of its own, which fails the test
        gate.set()
        failures = [type(each.exception(10)) for each in waiting]
    assert failures == [ConnectionError] + [CredentialError] * 9
    assert len(attempts) == 1


def test_expired_new_credentials_are_refused() -> None:
    issuer = Issuer()
    issuer.life = 0
    with pytest.raises(CredentialError, match="expired"):
        Temporary(issuer.refresh, clock=issuer.clock).current()


def test_an_access_key_never_expires() -> None:
    made: list[int] = []

    def refresh() -> Credential:
        made.append(1)
        return Credential("AKID", "k")

    provider = Temporary(refresh, clock=lambda: 1e12)
    assert provider.current().expires_at == math.inf
    provider.current()
    assert made == [1]


def test_one_thread_refreshes_and_the_others_go_on() -> None:
    issuer = Issuer()
    gate, asked = threading.Event(), threading.Event()

    def refresh() -> Credential:
        if issuer.made:
            asked.set()
            assert gate.wait(10)
        return issuer.refresh()

    provider = Temporary(refresh, ahead=300, clock=issuer.clock)
    provider.current()
    issuer.now = 800
    with ThreadPoolExecutor(20) as pool:
        slow = pool.submit(provider.current)
        assert asked.wait(10)
        others = [pool.submit(provider.current) for _ in range(19)]
        assert {f.result(10).secret_id for f in others} == {"AKID1"}
        gate.set()
        assert slow.result(10).secret_id == "AKID2"
    assert issuer.made == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_while_a_thread_refreshes() -> None:
    """The child lacks that thread, and so could wait for it for ever."""
    asked, gate = threading.Event(), threading.Event()

    def refresh() -> Credential:
        asked.set()
        assert gate.wait(20)
        return Credential("id", "key", "token", math.inf)

    made = Temporary(refresh)
    refreshing = threading.Thread(target=made.current)
    refreshing.start()
    assert asked.wait(10)
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(10)
            gate.set()
            os._exit(0 if made.current().secret_id == "id" else 2)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    gate.set()
    refreshing.join(10)
    assert status == 0


def test_a_session_of_keystead(keystead: KeysteadServer) -> None:
    now = keystead.installation.clock.now()
    root_api = keystead.api()

    def refresh() -> Credential:
        made = root_api.call(
            "sts", "2018-08-13", "GetFederationToken", "ap-guangzhou", {"Name": "app", "Policy": policy}
        )
        given = made["Credentials"]
        return Credential(given["TmpSecretId"], given["TmpSecretKey"], given["Token"], made["ExpiredTime"])

    policy = json.dumps(
        {"version": "2.0", "statement": [{"effect": "allow", "action": "ssm:ListSecrets", "resource": "*"}]}
    )
    provider = Temporary(refresh, clock=lambda: now)
    api = keystead.api(credential=provider)
    assert api.call("ssm", "2019-09-23", "ListSecrets", "ap-guangzhou")["TotalCount"] == 0
    assert keystead.calls["GetFederationToken"] == 1
