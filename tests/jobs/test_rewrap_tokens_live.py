"""Domain keys rotate under a service at work: kill -9 at any moment, and calls that never notice."""

import base64
import secrets
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.clock import ManualClock
from chalicelib.domain_rotation import check_retirable
from chalicelib.formats import key_token
from chalicelib.hsm.port import Hsm, Padding
from chalicelib.hsm.public import encrypt_to, to_pem
from chalicelib.jobs.rewrap_tokens import SETTLING_SECONDS, rewrap_tokens, tokens_of
from chalicelib.settings import Settings
from chalicelib.table.port import Table
from chalicelib.table.sqlite import SqliteTable
from tests.calls import ask, code, tc3
from tests.installation import SM, Installation
from tests.scenarios import WRAPPING

ROOT = Path(__file__).parents[2]
KILL_SECONDS = 15.0
TRAFFIC_SECONDS = 6.0
PLAINTEXT = base64.b64encode(b"a plaintext").decode()

SWEEPER = """
import sys
from pathlib import Path
from chalicelib import wiring
from chalicelib.clock import ManualClock
from chalicelib.jobs.rewrap_tokens import rewrap_tokens
from chalicelib.settings import Settings

service = wiring.build(Settings(home=Path(sys.argv[1])), ManualClock(int(sys.argv[2])))
service.hsm("ap-guangzhou"), service.table("ap-guangzhou")
print(flush=True)
outcome = rewrap_tokens(service, "ap-guangzhou", page=5)
print(outcome.done, flush=True)
"""


class OnDisk(Installation):
    """An installation that keeps its rows and its domain keys as `make run` does."""

    def __init__(self, home: Path, clock: ManualClock) -> None:
        settings = Settings(home=home, throttle=False, credential_cache_seconds=0)
        super().__init__(clock, settings)

    def open_table(self, domain: str) -> Table:
        self.settings.home.mkdir(mode=0o700, exist_ok=True)
        return SqliteTable(self.settings.home / f"{domain}.sqlite", self.clock)

    def open_hsm(self, domain: str) -> Hsm:
        return wiring.open_hsm(self.settings, domain)

    def call(self, action: str, **parameters: Any) -> dict[str, Any]:
        request = tc3(self.root, self.clock.now(), "kms", action, parameters, region=SM)
        return ask(self.gateway, request)

    def done(self, action: str, **parameters: Any) -> dict[str, Any]:
        answer = self.call(action, **parameters)
        assert not code(answer), (action, answer)
        return answer

    def generations(self) -> set[int]:
        """Those that the table's tokens name."""
        found: set[int] = set()
        after = None
        while page := self.service.table(SM).scan(after=after):
            found |= {key_token.generation_of(key.token) for row in page for key in tokens_of(row, SM)}
            after = (page[-1].pk, page[-1].sk)
        return found


def filled(home: Path, clock: ManualClock, count: int) -> tuple[OnDisk, dict[str, str]]:
    """Keys, and a ciphertext of each."""
    installation = OnDisk(home, clock)
    blobs = {}
    for number in range(count):
        key = installation.done("CreateKey", Alias=f"key-{number}")["KeyId"]
        blobs[key] = installation.done("Encrypt", KeyId=key, Plaintext=PLAINTEXT)["CiphertextBlob"]
    return installation, blobs


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_killed_at_any_moment_every_key_opens_and_the_next_run_goes_on(tmp_path: Path) -> None:
    clock = ManualClock(int(time.time()))
    installation, blobs = filled(tmp_path / "home", clock, 80)
    hsm = installation.service.hsm(SM)
    kills = unfinished = 0
    end = time.monotonic() + KILL_SECONDS
    while time.monotonic() < end:
        if installation.generations() == {hsm.generations()[-1]}:
            hsm.rotate()
        clock.advance(SETTLING_SECONDS)
        sweeper = subprocess.Popen(
            [sys.executable, "-S", "-c", SITE + SWEEPER, installation.settings.home, str(clock.now())],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert sweeper.stdout is not None
        sweeper.stdout.readline()
        time.sleep(secrets.randbelow(400_000) / 1_000_000)
        sweeper.kill()
        rest = sweeper.communicate()[0]
        kills += 1
        unfinished += not rest
        for key in secrets.SystemRandom().sample(list(blobs), 8):
            assert installation.done("Decrypt", CiphertextBlob=blobs[key])["Plaintext"] == PLAINTEXT
    print(f"{kills} kills, {unfinished} of them under way, {len(hsm.generations())} generations")
    assert unfinished > 0
    retire_all(installation, clock)
    assert installation.generations() == set(hsm.generations())
    for blob in blobs.values():
        assert installation.done("Decrypt", CiphertextBlob=blob)["Plaintext"] == PLAINTEXT
    installation.service.close()


def retire_all(installation: OnDisk, clock: ManualClock) -> None:
    """Let the job finish, and destroy every generation but the newest."""
    for _ in range(10):
        clock.advance(SETTLING_SECONDS)
        assert rewrap_tokens(installation.service, SM).failed == 0
    hsm = installation.service.hsm(SM)
    for generation in hsm.generations()[:-1]:
        check_retirable(installation.service, SM, generation)
        hsm.retire(generation)


SITE = f"import sys; sys.path[:0] = {[p for p in sys.path if p]!r}\n"
"""The packages, without the second that the machinery for finding them takes."""


class Traffic:
    """Calls that must all succeed, and every ciphertext that they made."""

    def __init__(self, installation: OnDisk, blobs: dict[str, str]) -> None:
        self.stop = threading.Event()
        self.blobs = list(blobs.values())
        self.rounds = 0
        self._installation = installation
        self._keys = list(blobs)

    def use(self) -> None:
        """Encrypt, and open what is new and what is old."""
        while not self.stop.is_set():
            new = self.encrypt(secrets.choice(self._keys))
            for blob in (new, secrets.choice(self.blobs)):
                self.open(blob)
            self.rounds += 1

    def create(self) -> None:
        """Make keys, rotate them, and change their rows; fewer than the quota allows."""
        for number in range(100):
            key = self._installation.done("CreateKey", Alias=f"new-{number}")["KeyId"]
            self.blobs.append(self.encrypt(key))
            self._installation.done("EnableKeyRotation", KeyId=key)
            self._installation.done("RotateKey", KeyId=key)
            self._installation.done("UpdateKeyDescription", KeyId=key, Description="turned")
            if self.stop.wait(TRAFFIC_SECONDS / 100):
                return

    def bring(self) -> None:
        """Import material for keys that wait for it."""
        for number in range(40):
            key = self._installation.done("CreateKey", Alias=f"brought-{number}", Type=2)["KeyId"]
            given = self._installation.done("GetParametersForImport", KeyId=key, **WRAPPING)
            public_key = to_pem(base64.b64decode(given["PublicKey"]))
            material = encrypt_to(public_key, Padding.RSAES_OAEP_SHA_256, secrets.token_bytes(16))
            self._installation.done(
                "ImportKeyMaterial",
                KeyId=key,
                ImportToken=given["ImportToken"],
                EncryptedKeyMaterial=base64.b64encode(material).decode(),
            )
            self.blobs.append(self.encrypt(key))
            if self.stop.wait(TRAFFIC_SECONDS / 40):
                return

    def encrypt(self, key: str) -> str:
        return str(self._installation.done("Encrypt", KeyId=key, Plaintext=PLAINTEXT)["CiphertextBlob"])

    def open(self, blob: str) -> None:
        assert self._installation.done("Decrypt", CiphertextBlob=blob)["Plaintext"] == PLAINTEXT


@pytest.mark.slow
def test_calls_go_on_while_domain_keys_rotate_and_their_rows_are_swept(tmp_path: Path) -> None:
    clock = ManualClock(int(time.time()))
    installation, blobs = filled(tmp_path / "home", clock, 30)
    hsm = installation.service.hsm(SM)
    traffic = Traffic(installation, blobs)

    def sweep() -> int:
        done = 0
        while not traffic.stop.is_set():
            hsm.rotate()
            done += rewrap_tokens(installation.service, SM, page=10).done
        return done

    with ThreadPoolExecutor(4) as pool:
        users = [pool.submit(each) for each in (traffic.use, traffic.create, traffic.bring)]
        sweeper = pool.submit(sweep)
        time.sleep(TRAFFIC_SECONDS)
        traffic.stop.set()
        for user in users:
            user.result(30)
        swept = sweeper.result(30)
    print(f"{traffic.rounds} rounds, {swept} rows rewrapped, {len(hsm.generations())} generations")
    assert swept > len(traffic.blobs)
    retire_all(installation, clock)
    for blob in traffic.blobs:
        traffic.open(blob)
    installation.service.close()
