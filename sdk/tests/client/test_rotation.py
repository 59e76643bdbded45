"""Rotation under traffic: applications log in through the cache while their password changes fifty times."""

import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from tests.installation import SM

from keystead.api import Api
from keystead.secrets import Credentials, SecretCache

from .postgresql import PostgreSQL, running
from .servers import KeysteadServer

pg8000 = pytest.importorskip("pg8000.native", reason="pg8000 is not installed (PyPI)")

ROTATIONS = 50
THREADS = 5
REFUSED = "28P01"
"""SQLSTATE invalid_password (PostgreSQL, appendix A)."""


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[PostgreSQL, str]]:
    with running() as made:
        yield made


def is_refused(error: BaseException | None) -> bool:
    # The driver may fail to say goodbye to who has refused it: what came first counts.
    while isinstance(error, pg8000.Error) and isinstance(error.__context__, OSError):
        error = error.__context__.__context__
    return isinstance(error, pg8000.DatabaseError) and error.args[0].get("C") == REFUSED


class Rotation:
    """Gives the role `app` a new password, in the database and in Keystead."""

    def __init__(self, server: PostgreSQL, admin_password: str, keystead: KeysteadServer) -> None:
        self.server, self.keystead = server, keystead
        self.admin = pg8000.Connection(
            "admin", unix_sock=server.socket, database="postgres", password=admin_password
        )
        self.admin.run("DROP ROLE IF EXISTS app")
        self.number = 0
        first = self.password()
        self.admin.run(f"CREATE ROLE app LOGIN PASSWORD '{first}'")
        keystead.ssm("CreateSecret", SecretName="db", VersionId="v0", SecretString=self.value(first))

    def password(self) -> str:
        return secrets.token_hex(12)

    def value(self, password: str) -> str:
        return json.dumps(
            {"UserName": "app", "Password": password, "host": self.server.socket, "dbname": "postgres"}
        )

    def store(self, password: str) -> None:
        self.number += 1
        self.keystead.ssm(
            "PutSecretValue", SecretName="db", VersionId=f"v{self.number}", SecretString=self.value(password)
        )
        if self.number >= 5:
            self.keystead.ssm("DeleteSecretVersion", SecretName="db", VersionId=f"v{self.number - 5}")

    def alter(self, password: str) -> None:
        self.admin.run(f"ALTER ROLE app PASSWORD '{password}'")


class Traffic:
    """Threads that log in all the time."""

    def __init__(self, login: Callable[[], str]) -> None:
        self.login = login
        self.over = threading.Event()
        self.logins: Counter[str] = Counter()
        self.failures: list[BaseException] = []
        self.threads = [threading.Thread(target=self._work) for _ in range(THREADS)]

    def _work(self) -> None:
        while not self.over.is_set():
            try:
                self.logins[self.login()] += 1
            except Exception as error:  # noqa: BLE001, PERF203 - what the test looks for
                self.failures.append(error)
                return

    def wait(self, logins: int, within: float = 20) -> None:
        """Until there were so many logins more."""
        target, end = self.logins.total() + logins, time.monotonic() + within
        while self.logins.total() < target and not self.failures and time.monotonic() < end:
            time.sleep(0.002)

    def __enter__(self) -> "Traffic":  # noqa: PYI034 - Self is of Python 3.11
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(30)


def log_in(c: Credentials) -> str:
    assert c.host
    connection = pg8000.Connection(c.user, unix_sock=c.host, database=c.database, password=c.password)
    try:
        assert connection.run("SELECT current_user") == [["app"]]
    finally:
        connection.close()
    return c.secret.version_id


@pytest.fixture
def rotation(database: tuple[PostgreSQL, str], keystead: KeysteadServer) -> Iterator[Rotation]:
    made = Rotation(*database, keystead)
    yield made
    made.admin.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ttl", "rotations"), [(300.0, ROTATIONS), (0.05, 15)], ids=["long-lived cache", "short-lived cache"]
)
def test_no_failed_login_while_a_password_rotates(rotation: Rotation, ttl: float, rotations: int) -> None:
    api: Api = rotation.keystead.api()
    cache = SecretCache(api, SM, ttl=ttl)
    with Traffic(lambda: cache.run("db", log_in, is_auth_failure=is_refused)) as traffic:
        traffic.wait(5)
        for _ in range(rotations):
            password = rotation.password()
            rotation.store(password)
            traffic.wait(1)  # some may hold the new password already, which nothing accepts yet
            rotation.alter(password)
            traffic.wait(THREADS + 1)
    assert traffic.failures == []
    assert traffic.logins.total() > rotations * THREADS
    # Every password was in use.
    assert set(traffic.logins) == {f"v{n}" for n in range(rotations + 1)}
    if ttl == 300:
        # Fewer than the refused logins, of which a rotation may bring one to each thread, and some more.
        assert rotation.keystead.calls["GetSecretValue"] < 4 * rotations


def test_patience_where_the_database_knows_the_password_first(rotation: Rotation) -> None:
    cache = SecretCache(rotation.keystead.api(), SM)
    run = lambda: cache.run("db", log_in, is_auth_failure=is_refused, patience=20)  # noqa: E731 - short
    with Traffic(run) as traffic:
        traffic.wait(5)
        for _ in range(10):
            password = rotation.password()
            rotation.alter(password)
            time.sleep(0.02)
            rotation.store(password)
            traffic.wait(THREADS + 1)
    assert traffic.failures == []
    assert set(traffic.logins) == {f"v{n}" for n in range(11)}


def test_without_the_cache_logins_fail(rotation: Rotation) -> None:
    # The traffic sees the rotation: who keeps a password is locked out.
    held = SecretCache(rotation.keystead.api(), SM).get("db")
    with Traffic(lambda: log_in(Credentials(held, lambda secret: secret))) as traffic:
        traffic.wait(5)
        password = rotation.password()
        rotation.store(password)
        rotation.alter(password)
        traffic.wait(1000, within=5)
    assert traffic.failures
    assert all(is_refused(error) for error in traffic.failures)
