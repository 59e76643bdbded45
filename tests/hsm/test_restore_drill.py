"""The worst day: the token and the home directory are lost. What is left is a backup of the tables, and the custodians.

Everything goes through the official SDK and the operator's command, on the software HSM and on SoftHSM2; then one of two
tokens is lost under load.
"""

import base64
import io
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from chalicelib import wiring
from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.hsm import public
from chalicelib.hsm.__main__ import Desk, main
from chalicelib.hsm.port import Hsm, Padding
from chalicelib.hsm.standby import StandbyHsm
from chalicelib.jobs.rewrap_tokens import rewrap_tokens
from chalicelib.settings import Settings
from chalicelib.table import domains as rows
from chalicelib.table.port import Table
from chalicelib.table.sqlite import SqliteTable
from tests.hsm import softhsm
from tests.hsm.shim import Shim
from tests.installation import FIPS, SM, Installation

pytestmark = pytest.mark.timeout(400)  # many RSA keys

REGIONS: Final = {SM: "sm", FIPS: "fips"}
DOMAINS: Final = (IDENTITY, *REGIONS)


class Stored(Installation):
    """An installation in a home directory."""

    def __init__(self, clock: ManualClock, environment: dict[str, str]) -> None:
        self.home = Path(environment["KEYSTEAD_HOME"])
        super().__init__(clock, Settings.from_environment(environment))

    def open_table(self, domain: str) -> Table:
        return SqliteTable(self.home / f"{domain}.sqlite", self.clock)

    def open_hsm(self, domain: str) -> Hsm:
        return wiring.open_hsm(self.settings, domain, create=False)


@dataclass
class Site:
    """Where an installation is: its environment, and how its HSM gets lost."""

    environment: dict[str, str]
    lose_hsm: Callable[[], None]
    errors: Callable[[], str]

    @property
    def home(self) -> Path:
        return Path(self.environment["KEYSTEAD_HOME"])

    def run(self, command: str, given: str = "", *, fails: bool = False) -> str:
        """What an operator's command says."""
        output = io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            status = main(command.split(), Desk(io.StringIO(given), output))
        said = output.getvalue() + self.errors()
        assert status == (1 if fails else 0), said
        return said


class Sites:
    """Makes places for an installation: each has an empty HSM and an empty home."""

    def __init__(self, backend: str, folder: Path, errors: Callable[[], str]) -> None:
        self._backend = backend
        self._folder = folder
        self._errors = errors
        self._count = 0

    def new(self, tokens: int = 1) -> Site:
        self._count += 1
        home = self._folder / f"home-{self._count}"
        home.mkdir()
        environment = {
            "KEYSTEAD_HOME": str(home),
            "KEYSTEAD_REGIONS": ",".join(f"{name}:{standard}" for name, standard in REGIONS.items()),
            "KEYSTEAD_THROTTLE": "off",
            "KEYSTEAD_CREDENTIAL_CACHE_SECONDS": "0",
            "KEYSTEAD_HSM_DEADLINE_SECONDS": "25",  # a machine that has much to do makes an RSA key slowly
        }
        if self._backend == "software":
            return Site(environment, lambda: shutil.rmtree(home / "hsm", ignore_errors=True), self._errors)
        made = [softhsm.new_token() for _ in range(tokens)]
        # A copy of the module has a state of its own: one that runs already sees new tokens only after a while.
        module = shutil.copy(made[0].module, home.parent / f"softhsm-{self._count}.so")
        environment |= {
            "KEYSTEAD_HSM": "pkcs11",
            "KEYSTEAD_PKCS11_MODULE": str(module),
            "KEYSTEAD_PKCS11_TOKENS": ",".join(token.label for token in made),
            "KEYSTEAD_PKCS11_PIN": made[0].pin,
        }

        def lose() -> None:
            for token in made:
                delete(token)

        return Site(environment, lose, self._errors)


def delete(token: softhsm.NewToken) -> None:
    command = ["softhsm2-util", "--delete-token", "--token", token.label]
    subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, **token.environment}, timeout=30
    )


BACKENDS: Final = ["software", pytest.param("softhsm", marks=pytest.mark.softhsm)]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "softhsm":
        softhsm.require()
    return name


@pytest.fixture
def sites(backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Sites:
    return Sites(backend, tmp_path, lambda: capsys.readouterr().err)


@dataclass
class Contents:
    """What was made through the SDK, and how to tell whether it is still there."""

    texts: list[tuple[str, str, str]] = field(default_factory=list)
    """(region, ciphertext, plaintext)"""
    secrets: list[tuple[str, str, str]] = field(default_factory=list)
    """(region, name, value)"""
    asymmetric: list[tuple[str, str, str, str]] = field(default_factory=list)
    """(region, key id, algorithm, ciphertext) of `plaintext`"""
    signing: list[tuple[str, str, str, str]] = field(default_factory=list)
    """(region, key id, algorithm, signature) of `message`"""

    def fill(self, installation: Installation, mark: str) -> None:
        for region in REGIONS:
            kms, ssm = installation.client("kms", region), installation.client("ssm", region)
            for usage in ("ENCRYPT_DECRYPT", "ENCRYPT_DECRYPT_SM4", "ENCRYPT_DECRYPT_AES_256"):
                key = kms.CreateKey(Alias=f"{mark}-{usage.replace('_', '-')}", KeyUsage=usage).KeyId
                plaintext = base64.b64encode(f"{mark} {usage}".encode()).decode()
                self.texts.append(
                    (region, kms.Encrypt(KeyId=key, Plaintext=plaintext).CiphertextBlob, plaintext)
                )
            data_key = kms.GenerateDataKey(KeyId=key, KeySpec="AES_256")
            self.texts.append((region, data_key.CiphertextBlob, data_key.Plaintext))
            ssm.CreateSecret(SecretName=f"{mark}-secret", VersionId="v1", SecretString=f"{mark} value")
            self.secrets.append((region, f"{mark}-secret", f"{mark} value"))
            rsa = kms.CreateKey(Alias=f"{mark}-rsa", KeyUsage="ASYMMETRIC_DECRYPT_RSA_2048").KeyId
            pem = kms.GetPublicKey(KeyId=rsa).PublicKeyPem
            wrapped = public.encrypt_to(pem, Padding.RSAES_OAEP_SHA_256, b"plaintext")
            self.asymmetric.append((region, rsa, "RSAES_OAEP_SHA_256", base64.b64encode(wrapped).decode()))
            national = {"sm": ("SM2", "SM2DSA"), "fips": ("ECDSA384", "ECC_P384_R1")}[REGIONS[region]]
            for usage, algorithm in (("ECC", "ECC_P256_R1"), ("RSA_2048", "RSA_PSS_SHA_256"), national):
                key = kms.CreateKey(Alias=f"{mark}-{usage}", KeyUsage=f"ASYMMETRIC_SIGN_VERIFY_{usage}").KeyId
                signed = kms.SignByAsymmetricKey(
                    Algorithm=algorithm,
                    Message=base64.b64encode(b"message").decode(),
                    KeyId=key,
                    MessageType="RAW",
                ).Signature
                self.signing.append((region, key, algorithm, signed))

    def check(self, installation: Installation) -> int:
        """How many things are there, all as they were."""
        for region, ciphertext, plaintext in self.texts:
            assert (
                installation.client("kms", region).Decrypt(CiphertextBlob=ciphertext).Plaintext == plaintext
            )
        for region, name, value in self.secrets:
            found = installation.client("ssm", region).GetSecretValue(SecretName=name, VersionId="v1")
            assert found.SecretString == value
        for region, key, algorithm, ciphertext in self.asymmetric:
            opened = installation.client("kms", region).AsymmetricRsaDecrypt(
                KeyId=key, Algorithm=algorithm, Ciphertext=ciphertext
            )
            assert base64.b64decode(opened.Plaintext) == b"plaintext"
        for region, key, algorithm, signature in self.signing:
            kms = installation.client("kms", region)
            message = base64.b64encode(b"message").decode()
            again = kms.SignByAsymmetricKey(
                Algorithm=algorithm, Message=message, KeyId=key, MessageType="RAW"
            )
            for each in (signature, again.Signature):
                assert kms.VerifyByAsymmetricKey(
                    KeyId=key, SignatureValue=each, Message=message, Algorithm=algorithm, MessageType="RAW"
                ).SignatureValid
        return len(self.texts) + len(self.secrets) + len(self.asymmetric) + len(self.signing)


def custody(site: Site, folder: Path) -> list[str]:
    """A ceremony: five shares, three restore."""
    site.run(f"backup-key create --shares 5 --threshold 3 --out {folder}")
    shares = [path.read_text().strip() for path in sorted(folder.iterdir())]
    shutil.rmtree(folder)
    return shares


def test_tokens_and_home_are_lost_and_everything_opens(  # noqa: PLR0915 - a drill has many steps
    sites: Sites, backend: str, clock: ManualClock, tmp_path: Path
) -> None:
    site = sites.new()
    site.run("init")
    before = Stored(clock, site.environment)
    contents = Contents()
    contents.fill(before, "before")  # under generation 1, which was born before there was a backup key
    before.service.close()  # a process that runs notices a new generation within 30 s only
    shares = custody(site, tmp_path / "shares")
    if backend == "software":
        assert "sealed generation 1" in site.run("export")
    else:
        assert "lets no domain key out once it is made" in site.run("export", fails=True)
    assert f"{SM}: made generation 2" in site.run("rotate")
    root = before.root
    before = Stored(clock, site.environment)
    before.root = root
    contents.fill(before, "after")
    for hsm in (before.service.hsm(domain) for domain in DOMAINS):
        assert max(hsm.generations()) == 2
    for domain in DOMAINS:
        rewrap_tokens(before.service, domain)
    count = contents.check(before)
    assert count == 36
    before.service.close()

    # The backup is of the tables alone.
    backup = tmp_path / "backup"
    backup.mkdir()
    for path in site.home.glob("*.sqlite*"):
        shutil.copy(path, backup / path.name)
    site.lose_hsm()
    shutil.rmtree(site.home)

    place = sites.new()
    for path in backup.iterdir():
        shutil.copy(path, place.home / path.name)
    assert "run `python -m chalicelib.hsm init`, or `restore`" in place.run("status", fails=True)
    assert "restore it from its backup" in place.run("init", fails=True)
    assert "too few: 1 more needed" in place.run("restore", "\n".join(shares[:2]), fails=True)
    assert "entered twice" in place.run("restore", "\n".join([*shares[:2], shares[0]]), fails=True)
    stranger = custody_elsewhere(sites, tmp_path / "other")
    said = place.run("restore", "\n".join([*shares[:2], stranger[2]]), fails=True)
    assert "Share 3 belongs to another backup key" in said
    assert "not those of the backup key" in place.run("restore", "\n".join(stranger[:3]), fails=True)
    assert not any(part in said for part in shares[0].split()[5:9])
    for domain in DOMAINS:
        hsm = wiring.open_hsm(Settings.from_environment(place.environment), domain, create=False)
        assert list(hsm.generations()) == [], "nothing came of it"
        hsm.close()

    said = place.run("restore", "\n".join([shares[4], shares[0], shares[2]]))
    assert f"{FIPS}: has generation {'1, 2' if backend == 'software' else '2'}" in said
    assert "WRONG" not in said
    after = Stored(clock, place.environment)
    after.root = root
    assert contents.check(after) == count
    contents.fill(after, "restored")
    assert contents.check(after) == count + 18
    after.service.close()
    assert "WRONG" not in place.run("status")
    place.lose_hsm()


def custody_elsewhere(sites: Sites, folder: Path) -> list[str]:
    """Shares of another installation."""
    site = sites.new()
    site.run("init")
    shares = custody(site, folder)
    site.lose_hsm()
    return shares


def test_fewer_shares_open_nothing_even_with_every_other_file(
    sites: Sites, backend: str, clock: ManualClock, tmp_path: Path
) -> None:
    """What two custodians and the thief of the tables have: no generation, and no token comes to open."""
    site = sites.new()
    site.run("init")
    shares = custody(site, tmp_path / "shares")
    site.run("rotate")
    place = sites.new()
    for path in site.home.glob("*.sqlite*"):
        shutil.copy(path, place.home / path.name)
    for pair in (shares[:2], shares[3:], [shares[0], shares[4]]):
        assert "too few" in place.run("restore", "\n".join(pair), fails=True)
    hsm = wiring.open_hsm(Settings.from_environment(place.environment), IDENTITY, create=False)
    table = SqliteTable(place.home / "identity.sqlite", clock)
    (key,) = rows.backup_keys(table)
    assert list(hsm.generations()) == []
    assert key.threshold == 3
    table.close()
    hsm.close()
    site.lose_hsm()
    place.lose_hsm()


# Hot standby


@pytest.fixture
def shim() -> Iterator[Shim]:
    shim = Shim()
    yield shim
    shim.reset()


@pytest.fixture
def pair(tmp_path: Path, shim: Shim, capsys: pytest.CaptureFixture[str]) -> Iterator[Site]:
    """Two tokens, which the shim can take away."""
    site = Sites("softhsm", tmp_path, lambda: capsys.readouterr().err).new(tokens=2)
    site.environment["KEYSTEAD_PKCS11_MODULE"] = shim.path
    yield site
    site.lose_hsm()


@pytest.mark.softhsm
def test_two_tokens_get_the_same_domain_key(pair: Site, clock: ManualClock) -> None:
    said = pair.run("init")
    assert "identity: made generation 1" in said
    said = pair.run("status", fails=True)
    assert said.count("is up for") == 2 * len(DOMAINS)
    assert "has no backup" in said
    installation = Stored(clock, pair.environment)
    contents = Contents()
    contents.fill(installation, "pair")
    count = contents.check(installation)
    labels = pair.environment["KEYSTEAD_PKCS11_TOKENS"].split(",")
    for label in labels:
        alone = Stored(clock, {**pair.environment, "KEYSTEAD_PKCS11_TOKENS": label})
        alone.root = installation.root
        assert contents.check(alone) == count
        alone.service.close()
    installation.service.close()


@pytest.mark.softhsm
def test_a_token_that_was_added_gets_a_new_generation_and_old_ones_from_the_shares(
    pair: Site, clock: ManualClock, tmp_path: Path
) -> None:
    first, _ = pair.environment["KEYSTEAD_PKCS11_TOKENS"].split(",")
    one = Site({**pair.environment, "KEYSTEAD_PKCS11_TOKENS": first}, pair.lose_hsm, pair.errors)
    one.run("init")
    shares = custody(one, tmp_path / "shares")
    one.run("rotate")
    installation = Stored(clock, one.environment)
    contents = Contents()
    contents.fill(installation, "one")
    installation.service.close()
    for domain in DOMAINS:
        assert domain in pair.run("add-standby")
    said = pair.run("status", fails=True)
    assert "lacks generation 1, 2: see `add-standby`" in said
    said = pair.run("restore", "\n".join(shares[:3]))
    assert f"{SM}: has generation 1, 2, 3" in said
    said = pair.run("status", fails=True)
    assert "lacks generation 1: see" in said, "that one has no backup"
    _, second = pair.environment["KEYSTEAD_PKCS11_TOKENS"].split(",")
    alone = Stored(clock, {**pair.environment, "KEYSTEAD_PKCS11_TOKENS": second})
    alone.root = installation.root
    assert contents.check(alone)
    alone.service.close()


@pytest.mark.softhsm
@pytest.mark.slow
@pytest.mark.parametrize("how", ["removed", "hangs"])
@pytest.mark.parametrize("which", ["preferred", "standby"])
def test_one_of_two_tokens_is_lost_under_load_and_no_request_fails(
    pair: Site, shim: Shim, clock: ManualClock, how: str, which: str
) -> None:
    """While four threads decrypt, encrypt, sign and read; then it comes back, and is used again."""
    pair.run("init")
    installation, contents = filled(pair, clock)
    labels = pair.environment["KEYSTEAD_PKCS11_TOKENS"].split(",")
    at = ["preferred", "standby"].index(which)
    stop = threading.Event()
    done = [0] * 4

    def work(number: int) -> None:
        region = list(REGIONS)[number % 2]
        kms, ssm = installation.client("kms", region), installation.client("ssm", region)
        texts = [text for text in contents.texts if text[0] == region]
        _, key, algorithm, _ = next(each for each in contents.signing if each[0] == region)
        message = base64.b64encode(b"message").decode()
        while not stop.is_set():
            _, ciphertext, plaintext = texts[done[number] % len(texts)]
            assert kms.Decrypt(CiphertextBlob=ciphertext).Plaintext == plaintext
            kms.SignByAsymmetricKey(Algorithm=algorithm, Message=message, KeyId=key, MessageType="RAW")
            assert ssm.GetSecretValue(SecretName="load-secret", VersionId="v1").SecretString == "load value"
            if done[number] % 5 == 0 and done[number] < 100:  # there is a quota
                kms.CreateKey(Alias=f"load-{number}-{done[number]}")
            done[number] += 1

    def progress(seconds: float) -> int:
        before = sum(done)
        time.sleep(seconds)
        return sum(done) - before

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, number) for number in range(4)]
        try:
            healthy = progress(2)
            if how == "removed":
                shim.remove(labels[at])
            else:
                shim.hang(labels[at], 20_000)
            degraded = progress(6)
            lost = {domain: health(installation, domain)[at] for domain in REGIONS}
            shim.put_back(labels[at]) if how == "removed" else shim.hang(labels[at], 0)
            again = progress(2)
        finally:
            stop.set()
        for worker in workers:
            worker.result()
    assert min(healthy, degraded, again) > 0, (healthy, degraded, again)
    assert set(lost.values()) == {"down"}
    contents.check(installation)
    end = time.monotonic() + 40
    while time.monotonic() < end and health(installation, SM) != ["up", "up"]:
        time.sleep(0.5)
    assert health(installation, SM) == ["up", "up"]
    installation.service.close()


def filled(site: Site, clock: ManualClock) -> tuple[Stored, Contents]:
    """An installation with contents, whose tokens now have to answer in time."""
    unhurried = Stored(clock, site.environment)
    contents = Contents()
    contents.fill(unhurried, "load")
    unhurried.service.close()
    installation = Stored(clock, {**site.environment, "KEYSTEAD_HSM_DEADLINE_SECONDS": "5"})
    installation.root = unhurried.root
    return installation, contents


def health(installation: Installation, domain: str) -> list[str]:
    hsm = installation.service.hsm(domain)
    assert isinstance(hsm, StandbyHsm)
    return [member.state for member in hsm.health()]


@pytest.mark.softhsm
def test_no_rotation_while_a_token_is_away(pair: Site, shim: Shim) -> None:
    pair.run("init")
    shim.remove(pair.environment["KEYSTEAD_PKCS11_TOKENS"].split(",")[1])
    assert "every HSM must work for this" in pair.run("rotate --without-backup", fails=True)
    said = pair.run("status", fails=True)
    assert f"{SM}: pkcs11, generation 1" in said
    assert re.search(r"WRONG: identity: \S+ is down", said)
