import asyncio
import copy
import gc
import itertools
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.installation import SM

from keystead import secrets as module
from keystead.api import ApiError, Unreachable
from keystead.secrets import (
    AsyncSecretCache,
    AuthenticationFailed,
    Credentials,
    Gray,
    Secret,
    SecretCache,
    SecretFormatError,
)

from .servers import FaultyServer, KeysteadServer, refuse, respond, say_and_close


class Source:
    """Secrets Manager as the cache sees it, with a clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.values: dict[tuple[str, str], str] = {}
        self.newest: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.failure: BaseException | None = None
        self.before: Callable[[], None] = lambda: None
        self.chance = 0.0

    def put(self, name: str, version: str, value: str) -> None:
        self.values[name, version] = value
        self.newest[name] = version

    def call(
        self, service: str, version: str, action: str, region: str, parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        assert (service, version, action, region) == ("ssm", "2019-09-23", "GetSecretValue", SM)
        name, wanted = parameters["SecretName"], parameters["VersionId"]
        self.asked.append((name, wanted))
        failure = self.failure
        if wanted == "SSM_Current":
            wanted = self.newest.get(name, "")
        value = self.values.get((name, wanted))
        self.before()
        if failure is not None:
            raise failure
        if value is None:
            raise ApiError("ResourceNotFound", "There is none.", "r")
        return {"SecretName": name, "VersionId": wanted, "SecretString": value, "SecretBinary": ""}

    def cache(self, **options: Any) -> SecretCache:
        return SecretCache(
            self,
            SM,
            **{"clock": lambda: self.now, "random": lambda: self.chance, "host_id": "host", **options},
        )


@pytest.fixture
def source() -> Source:
    source = Source()
    source.put("db", "v1", '{"user": "app", "password": "hunter2-one"}')
    return source


def settled(cache: SecretCache) -> None:
    """Wait until nothing is read in the background."""
    end = time.monotonic() + 10
    while cache._loads:
        assert time.monotonic() < end
        time.sleep(0.001)


DOWN = Unreachable("nobody there")


# Values


def test_text_json_bytes() -> None:
    secret = Secret("s", "v1", '{"ключ": [1, null]}'.encode(), is_binary=False)
    assert secret.text == '{"ключ": [1, null]}'
    assert secret.json() == {"ключ": [1, None]}
    assert secret.bytes == secret.text.encode()
    assert Secret("s", "v1", b" null ", is_binary=False).json() is None
    binary = Secret("s", "v1", b"\xff\x00hunter2", is_binary=True)
    for read in (binary.json, lambda: binary.text):
        with pytest.raises(SecretFormatError) as caught:
            read()
        assert "hunter2" not in str(caught.value)
        assert caught.value.__context__ is None  # the parser's own error has the document


@given(st.binary(min_size=1, max_size=200))
def test_no_value_in_repr(value: bytes) -> None:
    secret = Secret("s", "v1", value, is_binary=True)
    assert repr(secret) == str(secret) == "<Secret 's' version 'v1'>"
    for leak in (pickle.dumps, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            leak(secret)


def test_every_kind_of_value_through_keystead(keystead: KeysteadServer) -> None:
    keystead.ssm("CreateSecret", SecretName="text", VersionId="v1", SecretString="é\n密")
    keystead.ssm("CreateSecret", SecretName="binary", VersionId="v1", SecretBinary="/wA=")
    with_cache = SecretCache(keystead.api(), SM)
    assert with_cache.get("text").text == "é\n密"
    assert not with_cache.get("text").is_binary
    assert with_cache.get("binary").bytes == b"\xff\x00"
    assert with_cache.get("binary").is_binary
    assert keystead.calls["GetSecretValue"] == 2


def test_versions_through_keystead(keystead: KeysteadServer) -> None:
    keystead.ssm("CreateSecret", SecretName="s", VersionId="v1", SecretString="one")
    cache = SecretCache(keystead.api(), SM)
    assert (cache.get("s").text, cache.get("s").version_id) == ("one", "v1")
    keystead.ssm("PutSecretValue", SecretName="s", VersionId="v2", SecretString="two")
    assert cache.get("s").version_id == "v1"
    assert cache.refresh("s").version_id == cache.get("s").version_id == "v2"
    assert cache.get("s", "v1").text == "one"
    keystead.ssm("DisableSecret", SecretName="s")
    with pytest.raises(ApiError, match=r"ResourceUnavailable\.ResourceDisabled"):
        cache.refresh("s")
    with pytest.raises(ApiError):
        cache.get("s")


def test_nothing_is_read_before_it_is_asked_for(source: Source) -> None:
    source.cache()
    assert source.asked == []
    code = (
        "import builtins, socket, sys\n"
        "def refuse(*_): raise AssertionError\n"
        "socket.socket.connect = builtins.open = refuse\n"
        "import keystead.api, keystead.credentials, keystead.secrets\n"
        "assert not [m for m in sys.modules if m.startswith('chalicelib')]\n"
    )
    folder = str(Path(module.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": folder})  # noqa: S603 - the code above


# Age


def test_a_value_is_kept_for_its_time(source: Source) -> None:
    cache = source.cache(ttl=100, ahead=0)
    assert cache.get("db").version_id == "v1"
    source.put("db", "v2", "two")
    source.now += 99.9
    assert cache.get("db").version_id == "v1"
    source.now += 0.1
    assert cache.get("db").version_id == "v2"
    assert len(source.asked) == 2


def test_the_age_counts_from_the_question(source: Source) -> None:
    def slow() -> None:
        source.now += 60

    source.before = slow
    cache = source.cache(ttl=100, ahead=0)
    cache.get("db")
    source.now += 40
    cache.get("db")
    assert len(source.asked) == 2


@pytest.mark.parametrize(("chance", "begins"), [(0.0, 80), (0.5, 85), (0.999999, 90)])
def test_read_anew_in_the_background_at_a_moment_of_its_own(
    source: Source, chance: float, begins: float
) -> None:
    source.chance = chance
    cache = source.cache(ttl=100, ahead=0.2)
    cache.get("db")
    source.put("db", "v2", "two")
    gate = threading.Event()
    source.before = lambda: (gate.wait(10), None)[1]
    start = source.now
    source.now = start + begins - 0.1
    assert cache.get("db").version_id == "v1"
    assert len(source.asked) == 1
    source.now = start + begins + 0.1
    for _ in range(50):
        assert cache.get("db").version_id == "v1"  # nobody waits
    gate.set()
    settled(cache)
    assert len(source.asked) == 2
    assert cache.get("db").version_id == "v2"


@given(st.lists(st.floats(min_value=0, max_value=200), max_size=30), st.floats(min_value=0, max_value=0.99))
def test_no_value_is_older_than_its_time(steps: list[float], chance: float) -> None:
    source = Source()
    source.chance = chance
    cache = source.cache(ttl=100, ahead=0.3)
    for step in steps:
        source.now += step
        source.put("t", "v", str(source.now))
        assert source.now - float(cache.get("t").text) < 100
        settled(cache)


def test_changes_are_told(source: Source) -> None:
    told: list[tuple[str, str]] = []

    def on_change(old: Secret, new: Secret) -> None:
        told.append((old.version_id, new.version_id))
        raise RuntimeError("the listener's own")

    cache = source.cache(on_change=on_change)
    cache.get("db")
    cache.refresh("db")
    source.put("db", "v2", "two")
    assert cache.refresh("db").text == "two"
    source.put("db", "v2", "two, written over")
    cache.refresh("db")
    assert told == [("v1", "v2"), ("v2", "v2")]


# Failures


def test_stale_values_serve_within_their_bound(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    cache = source.cache(ttl=100, ahead=0, stale_for=500)
    cache.get("db")
    start = source.now
    source.failure = DOWN
    source.now = start + 101
    assert cache.get("db").version_id == "v1"
    settled(cache)
    assert "db" in caplog.text
    assert "hunter2" not in caplog.text
    source.now = start + 599
    assert cache.get("db").version_id == "v1"
    settled(cache)
    source.now = start + 600
    asked = len(source.asked)
    for _ in range(2):
        with pytest.raises(Unreachable, match="nobody there"):
            cache.get("db")
    assert len(source.asked) == asked + 1
    source.failure = None
    source.now += 2
    assert cache.get("db").version_id == "v1"


@pytest.mark.parametrize(
    "failure", [DOWN, ApiError("InternalError", "m", "r"), ApiError("RequestLimitExceeded", "m", "r")]
)
def test_a_service_in_trouble_is_asked_less_and_less(source: Source, failure: Exception) -> None:
    cache = source.cache(ttl=100, ahead=0, stale_for=5000, negative_ttl=1)
    cache.get("db")
    source.failure = failure
    source.now += 100
    moments: list[float] = []
    for _ in range(8000):
        before = len(source.asked)
        assert cache.get("db").version_id == "v1"
        settled(cache)
        if len(source.asked) > before:
            moments.append(source.now)
        source.now += 0.05
    gaps = [b - a for a, b in itertools.pairwise(moments)]
    assert gaps[0] < 1.2
    assert gaps == sorted(gaps)
    assert 25 < gaps[-1] < 61


def test_nobody_waits_for_a_service_known_to_hang(source: Source) -> None:
    cache = source.cache(ttl=100, ahead=0, stale_for=5000)
    cache.get("db")
    source.failure = DOWN
    source.now += 100
    cache.get("db")
    gate = threading.Event()
    source.before = lambda: (gate.wait(10), None)[1]
    source.now += 2
    begin = time.monotonic()
    for _ in range(20):
        cache.get("db")
    assert time.monotonic() - begin < 1
    gate.set()
    settled(cache)


@pytest.mark.parametrize(
    "code", ["ResourceNotFound", "ResourceUnavailable.ResourceDisabled", "AuthFailure.UnauthorizedOperation"]
)
def test_a_refusal_ends_a_value_at_once(source: Source, code: str) -> None:
    cache = source.cache(ttl=100, ahead=0.2, stale_for=5000)
    cache.get("db")
    source.failure = ApiError(code, "No.", "r")
    source.now += 85
    cache.get("db")  # within its time; the refusal comes behind
    settled(cache)
    with pytest.raises(ApiError, match=code):
        cache.get("db")
    source.failure = DOWN
    source.now += 10
    with pytest.raises(Unreachable):
        cache.get("db")


def test_refusals_are_remembered_for_a_moment(source: Source) -> None:
    cache = source.cache(negative_ttl=2)
    for _ in range(10):
        with pytest.raises(ApiError, match="ResourceNotFound"):
            cache.get("none")
    assert len(source.asked) == 1
    source.put("none", "v1", "here now")
    source.now += 2
    assert cache.get("none").text == "here now"


def test_raising_again_keeps_no_history(source: Source) -> None:
    cache = source.cache()
    errors = []
    for _ in range(3):
        with pytest.raises(ApiError) as caught:
            cache.get("none")
        errors.append(caught.value)
    assert len({id(e) for e in errors}) == 3
    assert {(e.code, e.message, e.request_id) for e in errors} == {
        ("ResourceNotFound", "There is none.", "r")
    }


def test_faults_on_the_wire(faulty: FaultyServer) -> None:
    now = [0.0]
    cache = SecretCache(
        faulty.api(retries=0, timeout=1.0), SM, ttl=100, ahead=0, stale_for=1000, clock=lambda: now[0]
    )
    good = respond(SecretString="good", SecretBinary="", VersionId="v1")
    faulty.script = [good]
    assert cache.get("s").text == "good"
    bad = [
        say_and_close(b""),
        say_and_close(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"Response": {"SecretString": "ba'),
        say_and_close(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops"),
        faulty.wait(4),
        refuse("InternalError"),
        respond(SecretString="", SecretBinary=""),
        respond(SecretBinary="?"),
        respond(SecretString="of another", SecretName="other"),
    ]
    for step in bad:
        faulty.script = [step]
        now[0] += 101
        assert cache.get("s").text == "good"
        settled(cache)
        faulty.script = [good]
        now[0] += 200
        cache.refresh("s")
    faulty.close()
    now[0] += 1000
    assert cache.get("s").text == "good"
    now[0] += 101
    settled(cache)
    with pytest.raises(Unreachable):
        cache.get("s")


def test_a_reader_who_is_interrupted_leaves_nobody_waiting(source: Source) -> None:
    cache = source.cache()
    source.failure = KeyboardInterrupt()
    entered, gate = threading.Event(), threading.Event()

    def before() -> None:
        entered.set()
        assert gate.wait(10)

    source.before = before
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(cache.get, "db")
        assert entered.wait(10)
        source.failure = None
        others = [pool.submit(cache.get, "db") for _ in range(4)]
        time.sleep(0.05)
        gate.set()
        with pytest.raises(KeyboardInterrupt):
            first.result(10)
        assert {f.result(10).version_id for f in others} == {"v1"}
    assert len(source.asked) == 2


# Many threads


def test_a_hundred_threads_make_one_request(keystead: KeysteadServer) -> None:
    keystead.ssm("CreateSecret", SecretName="s", VersionId="v1", SecretString="one")
    cache = SecretCache(keystead.api(), SM)
    barrier = threading.Barrier(100)

    def read(_: int) -> str:
        barrier.wait(20)
        return cache.get("s").text

    with ThreadPoolExecutor(100) as pool:
        assert set(pool.map(read, range(100))) == {"one"}
    assert keystead.calls["GetSecretValue"] == 1


def test_a_hundred_threads_share_one_failure(source: Source) -> None:
    source.failure = DOWN
    cache = source.cache()
    barrier = threading.Barrier(100)
    source.before = lambda: time.sleep(0.05)

    def read(_: int) -> str:
        barrier.wait(20)
        with pytest.raises(Unreachable) as caught:
            cache.get("db")
        return str(caught.value)

    with ThreadPoolExecutor(100) as pool:
        assert set(pool.map(read, range(100))) == {"nobody there"}
    assert len(source.asked) == 1


def test_different_secrets_do_not_wait_for_each_other(source: Source) -> None:
    source.put("other", "v1", "x")
    cache = source.cache()
    gate = threading.Event()
    source.before = lambda: (gate.wait(10), None)[1] if source.asked[-1][0] == "db" else None
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(cache.get, "db")
        while not source.asked:
            time.sleep(0.001)
        assert cache.get("other").text == "x"
        gate.set()
        assert slow.result(10).version_id == "v1"


def test_a_hundred_refused_passwords_make_one_request(source: Source) -> None:
    cache = source.cache()
    old = cache.get("db")
    source.put("db", "v2", "two")
    barrier = threading.Barrier(100)

    def fail(_: int) -> str:
        barrier.wait(20)
        return cache.refresh("db", than=old).text

    with ThreadPoolExecutor(100) as pool:
        assert set(pool.map(fail, range(100))) == {"two"}
    assert len(source.asked) == 2


def test_a_refresh_does_not_take_what_was_asked_before_it(source: Source) -> None:
    cache = source.cache(ttl=100, ahead=0.2)
    old = cache.get("db")
    asked, gate = threading.Event(), threading.Event()

    def before() -> None:
        asked.set()
        assert gate.wait(10)

    source.before = before
    source.now += 95
    cache.get("db")  # begins a read in the background, which has the old value by now
    assert asked.wait(10)
    source.put("db", "v2", "two")
    with ThreadPoolExecutor(1) as pool:
        newest = pool.submit(cache.refresh, "db", than=old)
        time.sleep(0.05)
        gate.set()
        assert newest.result(10).text == "two"


def test_forgetting_counts_for_what_is_on_its_way(source: Source) -> None:
    cache = source.cache()
    asked, gate = threading.Event(), threading.Event()

    def before() -> None:
        asked.set()
        assert gate.wait(10)

    source.before = before
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(cache.get, "db")
        assert asked.wait(10)
        cache.forget("db")
        source.put("db", "v2", "two")
        source.before = lambda: None
        assert cache.get("db").text == "two"
        gate.set()
        assert early.result(10).version_id == "v1"
    assert cache.get("db").text == "two"
    cache.forget()
    assert repr(cache) == f"<SecretCache of {SM}, 0 entries>"


def test_the_size_is_bounded(source: Source) -> None:
    for n in range(20):
        source.put(f"s{n}", "v1", "x")
    cache = source.cache(max_entries=5)
    for n in range(20):
        cache.get("s0")
        cache.get(f"s{n}")
        with pytest.raises(ApiError):
            cache.get(f"none{n}")
        assert len(cache._entries) <= 5
    cache.get("s19")
    for name in ("s0", "s19"):  # the least used go first
        assert source.asked.count((name, "SSM_Current")) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_in_the_middle_of_a_read(source: Source) -> None:
    cache = source.cache()
    asked, gate = threading.Event(), threading.Event()

    def before() -> None:
        asked.set()
        assert gate.wait(10)

    source.before = before
    reader = threading.Thread(target=cache.get, args=("db",))
    reader.start()
    assert asked.wait(10)
    with cache._lock:  # as another thread may hold it at that moment
        child = os.fork()
        if child == 0:
            try:
                source.before = lambda: None
                found = cache.get("db").version_id == "v1"
                os._exit(0 if found else 2)
            finally:
                os._exit(1)
    end = time.monotonic() + 10
    status = (0, 0)
    while status[0] == 0 and time.monotonic() < end:
        status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if status[0] == 0:
        os.kill(child, 9)
        os.waitpid(child, 0)
    gate.set()
    reader.join(10)
    assert status == (child, 0)


# Gray releases


def test_a_gray_release_by_host_and_percentage(source: Source) -> None:
    source.put("db", "v2", "two")
    releases = {"db": Gray("v2", stable="v1", hosts={"canary"})}
    canary, host = source.cache(gray=releases, host_id="canary"), source.cache(gray=releases)
    assert canary.get("db").version_id == "v2"
    assert host.get("db").version_id == "v1"
    assert host.get("db", "v2").version_id == host.get("db", "SSM_Current").version_id == "v2"
    releases["db"] = Gray("v2", stable="v1", percent=100)
    assert host.get("db").version_id == "v2"
    del releases["db"]
    assert host.get("db").version_id == "v2"
    assert ("db", "v1") in source.asked


@given(st.text(max_size=30), st.floats(0, 100), st.floats(0, 100))
def test_a_host_stays_chosen_as_the_percentage_grows(host: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    if Gray("v2", stable="v1", percent=low).version_for("db", host) == "v2":
        assert Gray("v2", stable="v1", percent=high).version_for("db", host) == "v2"
    assert Gray("v2", stable="v1", percent=100).version_for("db", host) == "v2"
    assert Gray("v2", stable="v1", percent=0).version_for("db", host) == "v1"


def test_percentages_are_percentages() -> None:
    hosts = [f"host-{n}" for n in range(4000)]
    chosen = {h for h in hosts if Gray("v2", stable="v1", percent=10).version_for("db", h) == "v2"}
    assert 320 < len(chosen) < 480
    # Fixed for ever: a new release of this package must not choose other hosts.
    assert sorted(chosen, key=lambda h: int(h[5:]))[:3] == FIRST_CHOSEN
    again = {h for h in hosts if Gray("v3", stable="v2", percent=10).version_for("db", h) == "v3"}
    assert len(chosen & again) < 100


FIRST_CHOSEN = ["host-0", "host-6", "host-14"]


@pytest.mark.parametrize("percent", [-1, 101, float("nan")])
def test_what_is_no_percentage(percent: float) -> None:
    with pytest.raises(ValueError, match="percent"):
        Gray("v2", stable="v1", percent=percent)
    with pytest.raises(TypeError):
        Gray("v2", stable="v1", hosts="host")


# Credentials


def test_members_of_credentials(source: Source) -> None:
    source.put(
        "db",
        "v2",
        '{"UserName": "app", "Password": "hunter2", "Host": "db.example", "PORT": "5432", "dbname": "x"}',
    )
    with source.cache().credentials("db") as c:
        assert (c.user, c.password, c.host, c.port, c.database) == ("app", "hunter2", "db.example", 5432, "x")
        assert (c["USERNAME"], c.get("none", 3)) == ("app", 3)
        assert "hunter2" not in repr(c) + str(c)


@pytest.mark.parametrize("value", ["hunter2", "[]", '{"user": "hunter2"}', '{"user": 1, "password": null}'])
def test_what_are_no_credentials(source: Source, value: str) -> None:
    source.put("db", "v2", value)
    with pytest.raises(SecretFormatError) as caught, source.cache().credentials("db") as c:
        assert c.user + c.password
    assert "hunter2" not in str(caught.value)


class Database:
    """Knows one password."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.tries: list[str] = []

    def login(self, c: Credentials) -> str:
        self.tries.append(c.password)
        if c.password != self.password:
            raise PermissionError("password authentication failed")
        return f"hello {c.user}"


def _is_refused(error: BaseException) -> bool:
    return isinstance(error, PermissionError)


def _rotate(source: Source, version: str, password: str) -> None:
    source.put("db", version, json.dumps({"user": "app", "password": password}))


def test_a_refused_password_is_read_again(source: Source) -> None:
    cache = source.cache()
    database = Database("hunter2-one")
    assert cache.run("db", database.login, is_auth_failure=_is_refused) == "hello app"
    _rotate(source, "v2", "two")
    database.password = "two"
    assert cache.run("db", database.login, is_auth_failure=_is_refused) == "hello app"
    assert database.tries == ["hunter2-one", "hunter2-one", "two"]
    assert len(source.asked) == 2


def test_other_failures_are_the_callers(source: Source) -> None:
    cache = source.cache()

    def broken(_c: Credentials) -> None:
        raise TimeoutError("no database")

    with pytest.raises(TimeoutError):
        cache.run("db", broken, is_auth_failure=_is_refused)
    with pytest.raises(TimeoutError), cache.credentials("db", is_auth_failure=_is_refused):
        raise TimeoutError
    assert len(source.asked) == 1


def test_a_wrong_password_is_tried_once_only(source: Source) -> None:
    cache = source.cache()
    database = Database("something else")
    with pytest.raises(PermissionError):
        cache.run("db", database.login, is_auth_failure=_is_refused)
    assert database.tries == ["hunter2-one"]
    assert len(source.asked) == 2


def test_the_database_learns_the_new_password_later(source: Source) -> None:
    cache = source.cache(ttl=1)
    database = Database("hunter2-one")
    cache.get("db")
    _rotate(source, "v2", "two")
    cache.refresh("db")
    assert cache.run("db", database.login, is_auth_failure=_is_refused) == "hello app"
    assert database.tries == ["two", "hunter2-one"]
    source.now += module.PREVIOUS_FOR  # a value that was replaced long ago is not sent to anybody
    database.tries.clear()
    with pytest.raises(PermissionError):
        cache.run("db", database.login, is_auth_failure=_is_refused)
    assert database.tries == ["two"]


def test_the_database_learns_it_between_two_attempts(source: Source) -> None:
    cache = source.cache()
    database = Database("hunter2-one")
    cache.get("db")
    _rotate(source, "v2", "two")
    cache.refresh("db")

    def login(c: Credentials) -> str:
        try:
            return database.login(c)
        finally:
            database.password = "two"

    assert cache.run("db", login, is_auth_failure=_is_refused) == "hello app"
    assert database.tries == ["two", "hunter2-one", "two"]


def test_patience_with_a_rotation_that_stores_the_password_last(source: Source) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        source.now += 0.5
        if len(pauses) == 3:
            _rotate(source, "v2", "two")

    source.chance = 0.5
    cache = source.cache(sleep=sleep)
    database = Database("two")
    assert cache.run("db", database.login, is_auth_failure=_is_refused, patience=10) == "hello app"
    assert pauses == [0.025, 0.05, 0.1]
    database.password = "three"
    with pytest.raises(PermissionError):
        cache.run("db", database.login, is_auth_failure=_is_refused, patience=10)
    assert len(pauses) < 3 + 30


def test_answers_that_differ_are_not_tried_for_ever(source: Source) -> None:
    """Replicas that are behind: each read brings the other value, and the database knows neither."""
    cache = source.cache()
    turns = itertools.cycle(["v1", "v2"])
    _rotate(source, "v2", "two")

    def flip() -> None:
        source.newest["db"] = next(turns)

    source.before = flip
    database = Database("three")
    with pytest.raises(PermissionError):
        cache.run("db", database.login, is_auth_failure=_is_refused)
    assert len(database.tries) <= 4


def test_a_block_that_fails_leaves_the_newest_behind(source: Source) -> None:
    cache = source.cache()
    database = Database("two")
    cache.get("db")
    _rotate(source, "v2", "two")
    with pytest.raises(PermissionError), cache.credentials("db", is_auth_failure=_is_refused) as c:
        database.login(c)
    with cache.credentials("db", is_auth_failure=_is_refused) as c:
        assert database.login(c) == "hello app"
    assert len(source.asked) == 2


def test_a_block_may_try_again_itself(source: Source) -> None:
    cache = source.cache()
    cache.get("db")
    _rotate(source, "v2", "two")
    with cache.credentials("db") as c:
        assert c.rejected()
        assert (c.password, c.secret.version_id) == ("two", "v2")
        assert not c.rejected()
    with pytest.raises(AuthenticationFailed), cache.credentials("db") as c:
        raise AuthenticationFailed
    assert len(source.asked) == 4


def test_an_outage_does_not_hide_the_databases_answer(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    cache = source.cache()
    cache.get("db")
    source.failure = DOWN
    database = Database("two")
    with pytest.raises(PermissionError):
        cache.run("db", database.login, is_auth_failure=_is_refused)
    with pytest.raises(PermissionError), cache.credentials("db", is_auth_failure=_is_refused) as c:
        database.login(c)
    assert "hunter2" not in caplog.text
    assert cache.get("db").version_id == "v1"


def test_no_value_in_any_log_or_exception(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    cache = source.cache(ttl=10, ahead=0)
    cache.get("db")
    source.failure = DOWN
    source.now += 11
    cache.get("db")
    shown = repr(cache) + caplog.text + repr(cache._entries) + repr(cache._loads)
    assert "hunter2" not in shown


# asyncio


def test_coroutines_that_want_the_same_make_one_request(source: Source) -> None:
    gate = threading.Event()
    source.before = lambda: (gate.wait(10), None)[1]

    async def work() -> None:
        cache = AsyncSecretCache(source.cache())
        waiting = [asyncio.create_task(cache.get("db")) for _ in range(500)]
        await asyncio.sleep(0.05)
        assert len(source.asked) == 1
        assert threading.active_count() < 20, "coroutines wait, and not threads"
        for task in waiting[:499:2]:
            task.cancel()
        gate.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert {each.version_id for each in found[1::2] if isinstance(each, Secret)} == {"v1"}
        assert all(isinstance(each, Secret) for each in found[1::2])
        await cache.get("db")
        assert len(source.asked) == 1
        assert cache._loads == {}

    asyncio.run(work(), debug=True)


def test_a_value_that_is_there_costs_no_thread(source: Source) -> None:
    threads = source.cache()
    threads.get("db")

    async def work() -> None:
        asyncio.get_running_loop().set_default_executor(NoThreads())
        assert (await AsyncSecretCache(threads).get("db")).version_id == "v1"
        with pytest.raises(AssertionError):
            await AsyncSecretCache(threads).get("other")

    asyncio.run(work())


class NoThreads(ThreadPoolExecutor):
    def submit(self, *_arguments: Any, **_options: Any) -> Any:
        raise AssertionError


def test_coroutines_share_a_failure_but_no_traceback(source: Source) -> None:
    source.failure = DOWN

    async def work() -> None:
        cache = AsyncSecretCache(source.cache(negative_ttl=0))
        failures = await asyncio.gather(*(cache.get("db") for _ in range(50)), return_exceptions=True)
        assert len(source.asked) == 1
        assert all(isinstance(each, Unreachable) for each in failures)
        assert len({id(each) for each in failures}) == 50
        lost = asyncio.create_task(cache.get("db"))
        await asyncio.sleep(0)
        lost.cancel()  # nobody is left to hear of the failure; the loop must not complain
        await asyncio.sleep(0.05)

    complaints: list[Any] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        await work()
        gc.collect()

    asyncio.run(watched())
    assert complaints == []


def test_forgetting_counts_for_coroutines(source: Source) -> None:
    gate = threading.Event()
    source.before = lambda: (gate.wait(10), None)[1]

    async def work() -> None:
        cache = AsyncSecretCache(source.cache())
        before = asyncio.create_task(cache.get("db"))
        await asyncio.sleep(0.05)
        _rotate(source, "v2", "two")
        cache.forget("db")
        after = asyncio.create_task(cache.get("db"))
        await asyncio.sleep(0.05)
        gate.set()
        assert (await before).version_id == "v1"
        assert (await after).version_id == "v2"
        assert (await cache.get("db")).version_id == "v2"
        _rotate(source, "v3", "three")
        assert (await cache.refresh("db")).version_id == "v3"

    asyncio.run(work())


def test_a_block_of_a_coroutine_leaves_the_newest_behind(source: Source) -> None:
    async def work() -> None:
        cache = AsyncSecretCache(source.cache())
        database = Database("two")
        await cache.get("db")
        _rotate(source, "v2", "two")
        with pytest.raises(PermissionError):
            async with cache.credentials("db", is_auth_failure=_is_refused) as c:
                database.login(c)
        async with cache.credentials("db", is_auth_failure=_is_refused) as c:
            assert database.login(c) == "hello app"
        assert len(source.asked) == 2
        with pytest.raises(TimeoutError):
            async with cache.credentials("db", is_auth_failure=_is_refused):
                raise TimeoutError
        assert len(source.asked) == 2

    asyncio.run(work())


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    yield
    end = time.monotonic() + 10
    while any(t.name == "keystead-refresh" for t in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.001)
