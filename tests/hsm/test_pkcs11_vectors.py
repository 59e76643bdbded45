"""The vectors of KS-FMT-20 to KS-FMT-22 in a real token: restored, opened, refused. See tests/vectors/README.md."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from chalicelib.hsm import public
from chalicelib.hsm.pkcs11 import Dialect, Pkcs11Hsm
from chalicelib.hsm.port import Damaged, Hsm, HsmError, HsmKey, KeyKind, SignatureAlgorithm
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.settings import Settings
from tests.hsm import softhsm
from tests.hsm.shim import Shim
from tests.vectors import make, make_token

OPENED, REFUSED = make.read("token_opened"), make.read("token_refused")
Vector = dict[str, Any]
RESTORED: Final = next(vector for vector in OPENED if vector["given"].get("technology") == "PKCS11")


def tokens(vectors: list[Vector]) -> list[Vector]:
    return [vector for vector in vectors if vector["format"] == "pkcs11_key_token"]


def messages(vectors: list[Vector]) -> list[Vector]:
    return [vector for vector in vectors if vector["format"] == "token_message"]


def name(vector: Vector) -> str:
    return str(vector["name"])


def restore(hsm: Hsm, vector: Vector) -> None:
    given = vector["given"]
    hsm.restore(given["generation"], bytes.fromhex(vector["sealed"]), bytes.fromhex(given["private_key"]))


@pytest.fixture(scope="module")
def hsm() -> Iterator[Pkcs11Hsm]:
    """A token into which the vectors' domain keys were restored."""
    new, shim = softhsm.new_token(), Shim()
    token = new.open(shim.path)
    found = Pkcs11Hsm(make_token.DOMAIN, token, Dialect.of({}), Settings().hsm_fallbacks)
    restore(found, RESTORED)
    assert found.generations() == (make_token.GENERATION,)
    yield found
    token.close()


def key(vector: Vector) -> HsmKey:
    given = vector["given"]
    return HsmKey(KeyKind[given["kind"]], bytes.fromhex(vector["sealed"]), bytes.fromhex(given["binding"]))


def use(hsm: Hsm, key: HsmKey) -> None:
    if key.kind is KeyKind.EC_P256:
        signature = hsm.sign(key, SignatureAlgorithm.ECC_P256_R1, b"message", is_digest=False)
        algorithm = SignatureAlgorithm.ECC_P256_R1
        public.verify(hsm.public_key(key), algorithm, b"message", signature, is_digest=False)
    else:
        assert hsm.decrypt(key, hsm.encrypt(key, b"text", b""), b"") == b"text"


@pytest.mark.softhsm
@pytest.mark.parametrize("vector", tokens(OPENED), ids=name)
def test_key_tokens_open(hsm: Pkcs11Hsm, vector: Vector) -> None:
    """KS-FMT-22.3, KS-FMT-22.4: the material is the vector's, and so is the public key."""
    found = key(vector)
    use(hsm, found)
    use(hsm, hsm.rewrap(found))
    if found.kind is KeyKind.EC_P256:
        assert hsm.public_key(found) == make_token.public_half("EC_P256")


@pytest.mark.softhsm
@pytest.mark.parametrize(
    "vector",
    # The token has one MAC key, and takes the generation from the bytes.
    [v for v in tokens(REFUSED) if not v["name"].endswith(("another mac", "another generation"))],
    ids=name,
)
def test_other_key_tokens_are_refused(hsm: Pkcs11Hsm, vector: Vector) -> None:
    with pytest.raises(Damaged):
        use(hsm, key(vector))


@pytest.mark.softhsm
def test_messages_open(hsm: Pkcs11Hsm) -> None:
    """KS-FMT-20: under the AES key of the key tokens."""
    (cmk,) = (key(vector) for vector in tokens(OPENED) if vector["given"]["kind"] == "AES_256")
    for vector in messages(OPENED):
        ad = bytes.fromhex(vector["given"]["associated_data"])
        assert hsm.decrypt(cmk, bytes.fromhex(vector["sealed"]), ad).hex() == vector["plaintext"]
    refused = 0
    for vector in messages(REFUSED):
        given = vector["given"]
        if given["key"] == make_token.MATERIAL["AES_256"].hex() and given["kind"] == "AES_256":
            refused += 1
            with pytest.raises(Damaged):
                hsm.decrypt(cmk, bytes.fromhex(vector["sealed"]), bytes.fromhex(given["associated_data"]))
    assert refused > 20


@pytest.mark.softhsm
def test_check_values(hsm: Pkcs11Hsm) -> None:
    """KS-FMT-20.5."""
    (cmk,) = (key(vector) for vector in tokens(OPENED) if vector["given"]["kind"] == "AES_256")
    assert hsm.check_value(cmk) == make_token.check_value()


@pytest.mark.softhsm
def test_other_generations_are_refused(hsm: Pkcs11Hsm) -> None:
    """KS-FMT-21.2, KS-FMT-21.5."""
    proven = bytes.fromhex(RESTORED["sealed"])[: -(1 + 36)]  # nobody asks the voucher of one that is there
    for vector in REFUSED:
        is_changed = "another" not in vector["name"] and not bytes.fromhex(vector["sealed"]).startswith(
            proven
        )
        if vector["format"] == "sealed_generation" and is_changed:
            with pytest.raises((Damaged, ValueError)):
                restore(hsm, vector)
    assert hsm.generations() == (make_token.GENERATION,)


def test_a_generation_of_the_software_hsm_is_restored(tmp_path: Path) -> None:
    """KS-FMT-21.2: and one of a token is not."""
    found = SoftwareHsm.open(Settings(home=tmp_path), make_token.DOMAIN, create=False)
    (vector,) = (v for v in OPENED if v["given"].get("technology") == "SOFTWARE")
    with pytest.raises(HsmError):
        restore(found, RESTORED)
    restore(found, vector)
    assert found.generations() == (make_token.GENERATION,)
    assert found._store.read() == {make_token.GENERATION: make_token.SOFTWARE_KEY}
