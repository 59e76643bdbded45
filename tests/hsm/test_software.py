"""The software HSM's file, start and cache: KS-FMT-8 as a file. What every backend does is in test_contract.py."""

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from chalicelib.formats import key_token, sealed_generation
from chalicelib.hsm import software
from chalicelib.hsm.port import Damaged, HsmKey, HsmMisconfigured, HsmUnavailable, KeyKind
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.settings import Settings
from tests.formats.damage import damaged_copies

DOMAIN = "ap-guangzhou"
PASSPHRASE = "correct horse battery staple"


@pytest.fixture(params=["", PASSPHRASE], ids=["seal.key", "passphrase"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "above" / "home", seal_passphrase=request.param)


@pytest.fixture
def plain(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def key_file(settings: Settings, domain: str = DOMAIN) -> Path:
    return settings.home / "hsm" / f"{domain}.keys"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def mistake(settings: Settings, domain: str = DOMAIN) -> str:
    """The text of the HsmMisconfigured that opening raises."""
    with pytest.raises(HsmMisconfigured) as caught:
        SoftwareHsm.open(settings, domain)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert PASSPHRASE not in str(caught.value)
    return str(caught.value)


# Starting


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_files_are_for_their_owner_alone(settings: Settings, umask: int) -> None:
    """KS-FMT-8.3: whatever the umask."""
    before = os.umask(umask)
    try:
        SoftwareHsm.open(settings, DOMAIN).rotate()
    finally:
        os.umask(before)
    assert mode(key_file(settings)) == 0o600
    assert {mode(folder) for folder in (settings.home, settings.home / "hsm", settings.home.parent)} == {
        0o700
    }
    assert (settings.home / "seal.key").exists() is not bool(settings.seal_passphrase)
    if not settings.seal_passphrase:
        assert mode(settings.home / "seal.key") == 0o600


def test_no_temporary_file_stays(settings: Settings) -> None:
    """KS-FMT-8.3."""
    SoftwareHsm.open(settings, DOMAIN).rotate()
    assert {path.name for path in (settings.home / "hsm").iterdir()} == {f"{DOMAIN}.keys", f"{DOMAIN}.lock"}
    assert {path.name for path in settings.home.iterdir()} <= {"hsm", "seal.key"}


def test_the_next_start_changes_nothing(settings: Settings) -> None:
    SoftwareHsm.open(settings, DOMAIN)
    before = key_file(settings).read_bytes(), key_file(settings).stat().st_mtime_ns
    SoftwareHsm.open(settings, DOMAIN)
    assert (key_file(settings).read_bytes(), key_file(settings).stat().st_mtime_ns) == before


def test_what_a_crashed_start_left_is_no_obstacle(settings: Settings) -> None:
    """KS-FMT-8.3: a half-written file never has the key file's name."""
    key_file(settings).parent.mkdir(parents=True)
    (key_file(settings).parent / f".{DOMAIN}.keys.0123456789abcdef").write_bytes(b"half")
    SoftwareHsm.open(settings, DOMAIN)
    SoftwareHsm.open(settings, DOMAIN)


def test_a_name_that_is_taken_meanwhile_is_left_alone(tmp_path: Path) -> None:
    """KS-FMT-8.3: of two first starts the second finds the first one's file."""
    path = tmp_path / "file"
    software._publish(path, b"first")
    software._publish(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


STARTER = """
import sys
from pathlib import Path
from chalicelib.hsm.port import KeyKind
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.settings import Settings
settings = Settings(home=Path(sys.argv[1]), seal_passphrase=sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
hsm = SoftwareHsm.open(settings, sys.argv[3])
for _ in range(int(sys.argv[4])):
    hsm.rotate()
print(hsm.generate(KeyKind.SM4, b"place").token.hex())
"""


def start_together(settings: Settings, domains: list[str], *, rotations: int = 0) -> list[bytes]:
    """A token from each of as many processes as there are domains."""
    started = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", STARTER),
                *(str(settings.home), settings.seal_passphrase, domain, str(rotations)),
            ],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for domain in domains
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0] * len(started)
    return [bytes.fromhex(output) for output, _ in answers]


def test_processes_that_start_first_at_once_agree_on_the_keys(settings: Settings) -> None:
    """KS-FMT-8.3: on the seal key too, which two domains share."""
    domains = [DOMAIN, "ap-beijing"] * 2
    for domain, token in zip(domains, start_together(settings, domains), strict=True):
        SoftwareHsm.open(settings, domain).encrypt(HsmKey(KeyKind.SM4, token, b"place"), b"", b"")


def test_threads_that_start_first_at_once_agree_on_the_keys(settings: Settings) -> None:
    """KS-FMT-8.3."""
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: SoftwareHsm.open(settings, DOMAIN), range(8)))
    key = opened[0].generate(KeyKind.AES_256, b"place")
    for hsm in opened:
        hsm.encrypt(key, b"", b"")


# Refusing to start


@pytest.mark.parametrize("stage", ["prod", "production", "prod-eu", "PROD"])
def test_production_needs_a_decision(plain: Settings, stage: str) -> None:
    assert "KEYSTEAD_SOFTWARE_HSM_IN_PRODUCTION" in mistake(replace(plain, stage=stage))
    assert list(plain.home.iterdir()) == []
    SoftwareHsm.open(replace(plain, stage=stage, software_hsm_in_production=True), DOMAIN)


@pytest.mark.parametrize("stage", ["local", "dev", "staging", "preprod"])
def test_other_stages_need_none(plain: Settings, stage: str) -> None:
    SoftwareHsm.open(replace(plain, stage=stage), DOMAIN)


@pytest.mark.parametrize("domain", ["", "..", "../x", "a/b", "A", "a.b", "a\0", "-a", "a\n", "x" * 65])
def test_a_domain_is_no_path(plain: Settings, domain: str) -> None:
    assert "name" in mistake(plain, domain)


def test_a_wrong_passphrase_is_named(plain: Settings) -> None:
    """KS-FMT-8.2."""
    right = replace(plain, seal_passphrase=PASSPHRASE)
    SoftwareHsm.open(right, DOMAIN)
    assert "KEYSTEAD_SEAL_PASSPHRASE" in mistake(replace(plain, seal_passphrase=PASSPHRASE + " "))
    SoftwareHsm.open(right, DOMAIN)


def test_a_forgotten_passphrase_is_asked_for(plain: Settings) -> None:
    """KS-FMT-8.2."""
    SoftwareHsm.open(replace(plain, seal_passphrase=PASSPHRASE), DOMAIN)
    assert "set KEYSTEAD_SEAL_PASSPHRASE" in mistake(plain)
    assert "set KEYSTEAD_SEAL_PASSPHRASE" in mistake(plain, "ap-beijing")


def test_a_passphrase_too_many_is_told(plain: Settings) -> None:
    """KS-FMT-8.2."""
    SoftwareHsm.open(plain, DOMAIN)
    assert "unset KEYSTEAD_SEAL_PASSPHRASE" in mistake(replace(plain, seal_passphrase=PASSPHRASE))


def test_a_lost_seal_key_is_not_made_anew(plain: Settings) -> None:
    """KS-FMT-8.2: neither for the domain that needs it nor for another one."""
    SoftwareHsm.open(plain, DOMAIN)
    (plain.home / "seal.key").unlink()
    for domain in (DOMAIN, "ap-beijing"):
        assert "seal.key is missing" in mistake(plain, domain)
    assert not (plain.home / "seal.key").exists()


def test_a_seal_key_from_the_environment_takes_the_place_of_the_file(plain: Settings) -> None:
    """KS-FMT-8.2: the file's content opens what was sealed under the file; another key is named, and no file is made."""
    key = SoftwareHsm.open(plain, DOMAIN).generate(KeyKind.AES_256, b"place")
    content = (plain.home / "seal.key").read_text().strip()
    (plain.home / "seal.key").unlink()
    message = SoftwareHsm.open(replace(plain, seal_key=content), DOMAIN).encrypt(key, b"plaintext", b"")
    with_key = replace(plain, seal_key=content)
    assert SoftwareHsm.open(with_key, DOMAIN).decrypt(key, message, b"") == b"plaintext"
    assert "KEYSTEAD_SEAL_KEY is not what" in mistake(replace(plain, seal_key="0f" * 32))
    SoftwareHsm.open(with_key, "ap-beijing")
    assert not (plain.home / "seal.key").exists()


def test_another_seal_key_is_named(plain: Settings) -> None:
    """KS-FMT-8.2."""
    SoftwareHsm.open(plain, DOMAIN)
    (plain.home / "seal.key").write_text("00" * 32)
    assert "seal.key" in mistake(plain)


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "00" * 32 + "\n\n"])
def test_a_malformed_seal_key_is_named_and_not_shown(plain: Settings, text: str) -> None:
    """KS-FMT-8.2."""
    SoftwareHsm.open(plain, DOMAIN)
    (plain.home / "seal.key").write_text(text)
    found = mistake(plain)
    assert "64 hexadecimal digits" in found
    assert not text.strip() or text.strip() not in found


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o620, 0o666])
def test_a_seal_key_that_others_can_read_is_refused(plain: Settings, loose: int) -> None:
    """KS-FMT-8.3."""
    SoftwareHsm.open(plain, DOMAIN)
    (plain.home / "seal.key").chmod(loose)
    assert "0600" in mistake(plain)


def test_every_changed_key_file_is_refused(plain: Settings) -> None:
    """KS-FMT-8.1, through the file."""
    SoftwareHsm.open(plain, DOMAIN)
    whole = key_file(plain).read_bytes()
    for copy in damaged_copies(whole):
        key_file(plain).write_bytes(copy)
        assert str(key_file(plain)) in mistake(plain)
    key_file(plain).write_bytes(whole)
    SoftwareHsm.open(plain, DOMAIN)


def test_the_key_file_of_another_domain_is_refused(plain: Settings) -> None:
    """KS-FMT-8.1: although the seal key is the same."""
    SoftwareHsm.open(plain, DOMAIN)
    key_file(plain, "ap-beijing").write_bytes(key_file(plain).read_bytes())
    assert "does not open" in mistake(plain, "ap-beijing")


def test_a_path_that_cannot_be_used_is_named(plain: Settings) -> None:
    (plain.home / "hsm").write_text("a file where the folder should be")
    assert str(plain.home / "hsm") in mistake(plain)


# Running


def test_a_running_hsm_does_not_touch_its_files(settings: Settings) -> None:
    """Not even to find that they are gone."""
    hsm = SoftwareHsm.open(settings, DOMAIN)
    key = hsm.generate(KeyKind.SM4, b"place")
    with files_opened(settings.home) as opened:
        for path in (settings.home / "hsm").iterdir():
            path.read_bytes()
            path.unlink()
        assert opened
        opened.clear()
        message = hsm.encrypt(key, b"plaintext", b"")
        assert hsm.decrypt(key, message, b"") == b"plaintext"
        assert hsm.encrypt(hsm.generate(KeyKind.AES_256, b"place"), b"", b"")
        with pytest.raises(Damaged):
            hsm.decrypt(key, message[:-1], b"")
        assert opened == []


@contextlib.contextmanager
def files_opened(home: Path) -> Iterator[list[str]]:
    """The names of files under `home` that are opened or listed meanwhile; audit hooks cannot be removed."""
    opened: list[str] = []
    watching = True

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if (
            watching
            and event in ("open", "os.listdir", "os.scandir")
            and str(arguments[0]).startswith(str(home))
        ):
            opened.append(str(arguments[0]))

    sys.addaudithook(note)
    try:
        yield opened
    finally:
        watching = False


def test_the_cache_is_bounded_and_only_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "CACHED_KEYS", 2)
    hsm = SoftwareHsm.ephemeral(DOMAIN)
    keys = [hsm.generate(KeyKind.SM4, b"place") for _ in range(5)]
    messages = [hsm.encrypt(key, b"plaintext", b"") for key in keys]
    for key, message in zip(keys, messages, strict=True):
        assert hsm.decrypt(key, message, b"") == b"plaintext"
    assert hsm._message_key.cache_info().currsize == 2


def test_a_refused_token_is_not_cached() -> None:
    hsm = SoftwareHsm.ephemeral(DOMAIN)
    key = hsm.generate(KeyKind.SM4, b"place")
    for _ in range(2):
        with pytest.raises(Damaged):
            hsm.encrypt(HsmKey(KeyKind.SM4, key.token, b"elsewhere"), b"", b"")
    assert hsm._message_key.cache_info().currsize == 0


def test_ephemeral_domains_share_nothing() -> None:
    some, other = SoftwareHsm.ephemeral(DOMAIN), SoftwareHsm.ephemeral(DOMAIN)
    with pytest.raises(Damaged):
        other.encrypt(some.generate(KeyKind.SM4, b"place"), b"", b"")


# Generations


@pytest.fixture(params=["ephemeral", "file"])
def hsm(request: pytest.FixtureRequest, plain: Settings) -> Iterator[SoftwareHsm]:
    opened = (
        SoftwareHsm.ephemeral(DOMAIN) if request.param == "ephemeral" else SoftwareHsm.open(plain, DOMAIN)
    )
    yield opened
    opened.close()


def test_old_tokens_open_after_a_rotation(hsm: SoftwareHsm) -> None:
    """KS-FMT-8.4."""
    old = hsm.generate(KeyKind.SM4, b"place")
    message = hsm.encrypt(old, b"plaintext", b"")
    assert (hsm.rotate().number, hsm.rotate().number) == (2, 3)
    new = hsm.generate(KeyKind.SM4, b"place")
    assert [key_token.generation(key.token) for key in (old, new)] == [1, 3]
    assert hsm.decrypt(old, message, b"") == b"plaintext"
    assert hsm.describe()["generation"] == "3"


def test_a_rewrapped_key_is_the_same_key(hsm: SoftwareHsm) -> None:
    """KS-FMT-8.4."""
    old = hsm.generate(KeyKind.SM4, b"place")
    message = hsm.encrypt(old, b"plaintext", b"")
    hsm.rotate()
    new = hsm.rewrap(old)
    assert (new.kind, new.binding, key_token.generation(new.token)) == (KeyKind.SM4, b"place", 2)
    assert hsm.decrypt(new, message, b"") == b"plaintext"
    with pytest.raises(Damaged):
        hsm.rewrap(HsmKey(KeyKind.SM4, old.token, b"elsewhere"))


def test_a_running_process_learns_another_ones_generation(settings: Settings) -> None:
    """KS-FMT-8.4: and after a restart it is still there."""
    some, other = SoftwareHsm.open(settings, DOMAIN), SoftwareHsm.open(settings, DOMAIN)
    some.rotate()
    key = some.generate(KeyKind.SM4, b"place")
    assert key_token.generation(key.token) == 2
    for hsm in (other, SoftwareHsm.open(settings, DOMAIN)):
        assert hsm.decrypt(key, some.encrypt(key, b"plaintext", b""), b"") == b"plaintext"
        assert hsm.describe()["generation"] == "2"


def test_a_running_process_looks_at_the_file_every_30_seconds(settings: Settings) -> None:
    """KS-FMT-8.4: what another one made or destroyed is noticed without a token that names it."""
    seconds = [1000.0]
    some = SoftwareHsm.open(settings, DOMAIN)
    other = SoftwareHsm.open(settings, DOMAIN, now=lambda: seconds[0])
    old = other.generate(KeyKind.SM4, b"place")
    other.encrypt(old, b"", b"")
    some.rotate()
    seconds[0] += 29.9
    assert key_token.generation(other.generate(KeyKind.SM4, b"place").token) == 1
    seconds[0] += 0.1
    assert key_token.generation(other.generate(KeyKind.SM4, b"place").token) == 2
    assert other.encrypt(old, b"", b"")
    some.retire(1)
    assert other.encrypt(old, b"", b"")
    seconds[0] += 30
    with pytest.raises(Damaged):
        other.encrypt(old, b"", b"")


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"spoilt")])
def test_a_process_that_runs_goes_on_without_its_file(
    plain: Settings, spoil: Callable[[Path], object]
) -> None:
    """KS-FMT-8.5."""
    seconds = [1000.0]
    hsm = SoftwareHsm.open(plain, DOMAIN, now=lambda: seconds[0])
    key = hsm.generate(KeyKind.SM4, b"place")
    spoil(key_file(plain))
    for _ in range(2):
        seconds[0] += 30
        assert hsm.encrypt(key, b"", b"")
        assert hsm.generations() == (1,)


def test_a_transport_key_is_sealed_like_the_key_file(settings: Settings) -> None:
    """KS-FMT-8.6: every change is refused, and so is another domain's."""
    hsm = SoftwareHsm.open(settings, DOMAIN)
    public_key = hsm.transport_key()
    path = key_file(settings).with_suffix(".transport")
    whole = path.read_bytes()
    assert mode(path) == 0o600
    SoftwareHsm.open(settings, "ap-beijing").transport_key()
    foreign = path.with_name("ap-beijing.transport").read_bytes()
    copies = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in (0, 1, 2, 20, 40, 900)]
    for copy in (*copies, whole[:-1], whole + b"\0", b"", foreign, key_file(settings).read_bytes()):
        path.write_bytes(copy)
        with pytest.raises(HsmMisconfigured, match="transport does not open"):
            SoftwareHsm.open(settings, DOMAIN).transport_key()
    path.write_bytes(whole)
    assert SoftwareHsm.open(settings, DOMAIN).transport_key() == public_key


def test_a_domain_that_is_opened_without_creating_leaves_no_file(plain: Settings) -> None:
    hsm = SoftwareHsm.open(plain, DOMAIN, create=False)
    assert hsm.generations() == ()
    assert list(plain.home.iterdir()) == []
    assert hsm.rotate().number == 1
    assert key_file(plain).exists()
    assert SoftwareHsm.open(plain, DOMAIN, create=False).generations() == (1,)


def test_a_lost_seal_key_is_not_made_anew_for_a_transport_key(plain: Settings) -> None:
    """KS-FMT-8.2."""
    SoftwareHsm.open(plain, DOMAIN, create=False).transport_key()
    (plain.home / "seal.key").unlink()
    with pytest.raises(HsmMisconfigured, match=r"seal\.key is missing"):
        SoftwareHsm.open(plain, DOMAIN)


def test_generations_that_are_there_can_be_exported(hsm: SoftwareHsm, tmp_path: Path) -> None:
    """Unlike those in a token; and into a place that has them it changes nothing."""
    keys = [hsm.generate(KeyKind.SM4, b"place")]
    hsm.rotate()
    keys.append(hsm.generate(KeyKind.SM4, b"place"))
    private_key = sealed_generation.new_private_key()
    recipient = sealed_generation.public_half(private_key)
    found = SoftwareHsm.open(Settings(home=tmp_path / "other"), DOMAIN, create=False)
    for number in (2, 1, 2):
        found.restore(number, hsm.export(number, recipient), private_key)
    assert found.generations() == (1, 2)
    for key in keys:
        assert found.check_value(key) == hsm.check_value(key)
    with pytest.raises(ValueError, match="no generation 3"):
        hsm.export(3, recipient)


def test_rotations_at_once_lose_no_generation(settings: Settings) -> None:
    """KS-FMT-8.4: four processes with three rotations each."""
    SoftwareHsm.open(settings, DOMAIN)
    tokens = start_together(settings, [DOMAIN] * 4, rotations=3)
    hsm = SoftwareHsm.open(settings, DOMAIN)
    assert hsm.describe()["generation"] == "13"
    for token in tokens:
        hsm.encrypt(HsmKey(KeyKind.SM4, token, b"place"), b"", b"")


def test_a_generation_that_never_was_is_damaged(hsm: SoftwareHsm) -> None:
    """KS-FMT-5.1."""
    key = hsm.generate(KeyKind.SM4, b"place")
    for generation in (0, 2, 2**32 - 1):
        token = key.token[:2] + generation.to_bytes(4) + key.token[6:]
        with pytest.raises(Damaged):
            hsm.encrypt(HsmKey(KeyKind.SM4, token, b"place"), b"", b"")


def test_a_key_file_that_went_is_an_outage_for_new_generations_only(plain: Settings) -> None:
    """KS-FMT-8.4."""
    some, other = SoftwareHsm.open(plain, DOMAIN), SoftwareHsm.open(plain, DOMAIN)
    old = some.generate(KeyKind.SM4, b"place")
    some.rotate()
    new = some.generate(KeyKind.SM4, b"place")
    key_file(plain).unlink()
    assert other.encrypt(old, b"", b"")
    with pytest.raises(HsmUnavailable):
        other.encrypt(new, b"", b"")
    with pytest.raises(HsmMisconfigured):
        other.rotate()


# Forgetting


def test_closing_forgets_the_seal_key(settings: Settings) -> None:
    hsm = SoftwareHsm.open(settings, DOMAIN)
    file = hsm._key_file
    assert file is not None
    assert any(file._seal_key)
    hsm.close()
    assert not any(file._seal_key)
    assert len(file._seal_key) == 32
    assert hsm._domain_keys == {}
    for use in (hsm.describe, hsm.rotate):
        with pytest.raises(HsmUnavailable):
            use()


def test_closing_forgets_unwrapped_keys() -> None:
    hsm = SoftwareHsm.ephemeral(DOMAIN)
    hsm.encrypt(hsm.generate(KeyKind.SM4, b"place"), b"", b"")
    hsm.public_key(hsm.generate(KeyKind.EC_P256, b"place"))
    caches = (hsm._message_key, hsm._private_key)
    assert [cache.cache_info().currsize for cache in caches] == [1, 1]
    hsm.close()
    assert [cache.cache_info().currsize for cache in caches] == [0, 0]


def test_nothing_that_is_shown_has_key_material(settings: Settings) -> None:
    hsm = SoftwareHsm.open(settings, DOMAIN)
    file = hsm._key_file
    assert file is not None
    key = hsm.generate(KeyKind.AES_256, b"place")
    material = hsm._unwrap(key.kind, key.token, key.binding)
    secrets = [material, bytes(file._seal_key), *file.read().values()]
    shown = [
        repr(hsm),
        repr(file),
        repr(vars(hsm)),
        repr(vars(hsm)["_domain_keys"]),
        str(dict(hsm.describe())),
    ]
    for secret in secrets:
        assert len(secret) == 32
        for text in shown:
            assert secret.hex() not in text
            assert repr(secret)[2:-1] not in text
    assert PASSPHRASE not in repr(vars(file))
