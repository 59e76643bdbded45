"""What every HSM backend does, whatever keeps its keys. A new backend adds itself to `BACKENDS`."""

import shutil
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

import pytest

from chalicelib import wiring
from chalicelib.formats import sealed_value
from chalicelib.formats.aead import KEY_BYTES
from chalicelib.hsm.port import Damaged, Hsm, HsmKey, HsmUnavailable, KeyKind
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.settings import Settings
from tests.formats.damage import damaged_copies
from tests.hsm import softhsm as softhsm2
from tests.hsm.shim import USER, Shim

pytestmark = pytest.mark.contract

Open = Callable[[str], Hsm]
"""Opens a domain; opening it again finds the same keys."""


class Backend(Protocol):
    """Makes a place for domains, and says how to open them; without `create` a domain has no key at first."""

    def __call__(self, home: Path, *, create: bool = True) -> Open:
        """`home` is an empty folder."""


def software(home: Path, *, create: bool = True) -> Open:
    return lambda domain: SoftwareHsm.open(Settings(home=home), domain, create=create)


def softhsm(home: Path, *, create: bool = True) -> Open:
    token = softhsm2.new_token()
    # A copy has a state of its own: one that runs already sees new tokens only after a while.
    module = str(shutil.copy(token.module, home))
    settings = Settings(
        home=home,
        hsm="pkcs11",
        pkcs11_module=module,
        pkcs11_tokens=(token.label,),
        pkcs11_pin=token.pin,
    )
    return lambda domain: wiring.open_hsm(settings, domain, create=create)


def cloud_hsm(home: Path, *, create: bool = True) -> Open:
    token, shim = softhsm2.new_token(), Shim(cloudhsm=True)
    settings = Settings(
        home=home,
        hsm="cloudhsm",
        pkcs11_module=shim.path,
        pkcs11_tokens=(token.label,),
        pkcs11_pin=f"{USER}:{token.pin}",
    )
    return lambda domain: wiring.open_hsm(settings, domain, create=create)


BACKENDS: Final[dict[str, Backend]] = {"software": software, "softhsm": softhsm, "cloudhsm": cloud_hsm}


def of_backend(name: str) -> Collection[pytest.MarkDecorator]:
    """The marks of tests with a backend."""
    return () if name == "software" else (pytest.mark.softhsm,)


@pytest.fixture(params=[pytest.param(name, marks=of_backend(name)) for name in BACKENDS])
def open_hsm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens domains of the backend, and closes them in the end."""
    opened: list[Hsm] = []
    backend = BACKENDS[request.param](tmp_path)

    def open_and_remember(domain: str) -> Hsm:
        opened.append(backend(domain))
        return opened[-1]

    yield open_and_remember
    for hsm in opened:
        hsm.close()


@pytest.fixture(params=KEY_BYTES, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> KeyKind:
    """Each symmetric kind."""
    found: KeyKind = request.param
    return found


@pytest.fixture
def hsm(open_hsm: Open) -> Hsm:
    return open_hsm("ap-guangzhou")


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 4096, 16224])
def test_what_is_encrypted_decrypts(hsm: Hsm, kind: KeyKind, size: int) -> None:
    key = hsm.generate(kind, b"place")
    plaintext = bytes(range(256)) * 64
    message = hsm.encrypt(key, plaintext[:size], b"context")
    assert hsm.decrypt(key, message, b"context") == plaintext[:size]


def test_a_key_names_its_kind_and_place(hsm: Hsm, kind: KeyKind) -> None:
    key = hsm.generate(kind, b"place")
    assert (key.kind, key.binding) == (kind, b"place")
    assert hsm.generate(kind, b"place").token != key.token


def test_messages_have_a_documented_format(hsm: Hsm, kind: KeyKind) -> None:
    """KS-FMT-4 or KS-FMT-20: a suite of the kind, and as many bytes more than the plaintext as it has."""
    message = hsm.encrypt(hsm.generate(kind, b"place"), b"plaintext", b"")
    overheads = {KeyKind.AES_256: {1: 41, 3: 69}, KeyKind.SM4: {2: 41, 4: 53}}[kind]
    assert len(message) == overheads[message[0]] + len(b"plaintext")


def test_equal_plaintexts_give_different_messages(hsm: Hsm, kind: KeyKind) -> None:
    key = hsm.generate(kind, b"place")
    messages = [hsm.encrypt(key, b"plaintext", b"") for _ in range(64)]
    text_at = -16 - len(b"plaintext")
    for part in (slice(1, text_at), slice(text_at - 12, text_at), slice(text_at, -16), slice(-16, None)):
        assert len({message[part] for message in messages}) == 64


def test_a_changed_message_is_damaged(hsm: Hsm, kind: KeyKind) -> None:
    """KS-FMT-4.3."""
    key = hsm.generate(kind, b"place")
    for copy in damaged_copies(hsm.encrypt(key, b"text", b"context")):
        with pytest.raises(Damaged):
            hsm.decrypt(key, copy, b"context")


def test_other_associated_data_is_damaged(hsm: Hsm, kind: KeyKind) -> None:
    key = hsm.generate(kind, b"place")
    message = hsm.encrypt(key, b"plaintext", b"context")
    for ad in (b"", b"Context", b"context\0", b"place"):
        with pytest.raises(Damaged):
            hsm.decrypt(key, message, ad)


def test_a_token_works_only_as_its_kind_in_its_place_and_domain(open_hsm: Open, kind: KeyKind) -> None:
    """KS-FMT-5.1, also right after the token was used in its own place: no cache forgets to look."""
    hsm, other_domain = open_hsm("ap-guangzhou"), open_hsm("ap-beijing")
    key = hsm.generate(kind, b"place")
    message = hsm.encrypt(key, b"plaintext", b"")
    other_kind = next(other for other in KEY_BYTES if other is not kind)
    for user, wrong in (
        (hsm, HsmKey(kind, key.token, b"Place")),
        (hsm, HsmKey(kind, key.token, b"")),
        (hsm, HsmKey(kind, key.token[:-1], key.token[-1:] + b"place")),
        (hsm, HsmKey(kind, key.token + b"pla", b"ce")),
        (hsm, HsmKey(other_kind, key.token, b"place")),
        (other_domain, key),
    ):
        with pytest.raises(Damaged):
            user.decrypt(wrong, message, b"")
        with pytest.raises(Damaged):
            user.encrypt(wrong, b"plaintext", b"")
    assert hsm.decrypt(key, message, b"") == b"plaintext"


def test_a_changed_token_is_damaged(hsm: Hsm, kind: KeyKind) -> None:
    """KS-FMT-5.2."""
    key = hsm.generate(kind, b"place")
    message = hsm.encrypt(key, b"plaintext", b"")
    for copy in damaged_copies(key.token):
        with pytest.raises(Damaged):
            hsm.decrypt(HsmKey(kind, copy, b"place"), message, b"")


def test_a_message_of_another_key_is_damaged(hsm: Hsm, kind: KeyKind) -> None:
    some, other = hsm.generate(kind, b"place"), hsm.generate(kind, b"place")
    message = hsm.encrypt(some, b"plaintext", b"")
    with pytest.raises(Damaged):
        hsm.decrypt(other, message, b"")


def test_keys_outlive_the_process(open_hsm: Open, kind: KeyKind) -> None:
    first = open_hsm("ap-guangzhou")
    key = first.generate(kind, b"place")
    message = first.encrypt(key, b"plaintext", b"")
    first.close()
    assert open_hsm("ap-guangzhou").decrypt(key, message, b"") == b"plaintext"


def test_two_openings_share_their_keys(open_hsm: Open, kind: KeyKind) -> None:
    some, other = open_hsm("ap-guangzhou"), open_hsm("ap-guangzhou")
    key = some.generate(kind, b"place")
    assert some.decrypt(key, other.encrypt(key, b"plaintext", b""), b"") == b"plaintext"


def test_values_are_sealed_with_it(hsm: Hsm, kind: KeyKind) -> None:
    """KS-FMT-7 is for every backend."""
    key = hsm.generate(kind, b"place")
    sealed = sealed_value.seal(hsm, key, ("a", 1), b"value")
    assert sealed_value.open_sealed(hsm, key, ("a", 1), sealed) == b"value"


def test_threads_work_at_once(hsm: Hsm, kind: KeyKind) -> None:
    keys = [hsm.generate(kind, bytes([number])) for number in range(4)]

    def work(number: int) -> bool:
        own = hsm.generate(kind, b"own")
        results = []
        for turn in range(50):
            key, ad = (keys[(number + turn) % 4], number.to_bytes(4)) if turn % 2 else (own, b"own")
            results.append(hsm.decrypt(key, hsm.encrypt(key, b"plaintext", ad), ad) == b"plaintext")
        return all(results)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_random_bytes_are_as_many_as_asked_for_and_differ(hsm: Hsm) -> None:
    assert [len(hsm.random(count)) for count in (0, 1, 32, 1024)] == [0, 1, 32, 1024]
    assert len({hsm.random(16) for _ in range(256)}) == 256


def test_the_description_names_what_runs(hsm: Hsm, kind: KeyKind) -> None:
    description = hsm.describe()
    assert {"technology", "domain", "generation", "kinds"} <= set(description)
    assert description["domain"] == "ap-guangzhou"
    assert kind.name in description["kinds"].split(",")
    assert all(isinstance(value, str) for value in description.values())


def test_a_token_is_not_shown(hsm: Hsm, kind: KeyKind) -> None:
    key = hsm.generate(kind, b"place")
    for shown in (repr(key), str(key), repr(hsm), str(dict(hsm.describe()))):
        assert key.token.hex() not in shown
        assert repr(key.token) not in shown


def test_a_closed_hsm_is_unavailable(hsm: Hsm, kind: KeyKind) -> None:
    key = hsm.generate(kind, b"place")
    message = hsm.encrypt(key, b"plaintext", b"")
    hsm.close()
    hsm.close()
    with pytest.raises(HsmUnavailable):
        hsm.decrypt(key, message, b"")
    with pytest.raises(HsmUnavailable):
        hsm.encrypt(key, b"plaintext", b"")
    with pytest.raises(HsmUnavailable):
        hsm.generate(kind, b"place")
