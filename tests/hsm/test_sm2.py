"""SM2: the choice of an engine, the two engines against each other and against gmssl as it is, encodings."""

import ctypes
import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from gmssl.sm2 import CryptSM2
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.hsm import public, sm2, sm2_gmssl, sm2_libcrypto
from chalicelib.hsm import sm2_encoding as encoding
from chalicelib.hsm.asymmetric import PrivateKey
from chalicelib.hsm.port import Damaged, HsmMisconfigured, HsmUnavailable, KeyKind
from chalicelib.hsm.software import SoftwareHsm
from tests.formats.damage import damaged_copies
from tests.hsm.conftest import ENGINES, engine_in_use, library
from tests.vectors import make
from tests.vectors.make_asymmetric import GX, GY, POINT, nonce_where, times

MESSAGE = b"encryption standard"


@pytest.fixture
def unchosen() -> Iterator[None]:
    """As in a process that has not used SM2 yet."""
    before = sm2._chosen[:]
    sm2._chosen.clear()
    yield
    sm2._chosen[:] = before


def key_of(pkcs8: bytes, engine: str) -> sm2.PrivateKey:
    with engine_in_use(engine):
        return sm2.PrivateKey(pkcs8)


# The choice of an engine


def test_libcrypto_is_taken_where_it_is_usable(unchosen: None) -> None:
    with engine_in_use("libcrypto") as found:
        assert found.name.startswith("OpenSSL ")
        assert sm2.describe() == found.name
        assert SoftwareHsm.ephemeral("d").describe()["sm2"] == found.name


@pytest.mark.usefixtures("unchosen")
def test_the_fallback_is_taken_without_libcrypto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sm2_libcrypto, "paths", lambda _platform: ["/nowhere/libcrypto.so.3"])
    assert isinstance(sm2.engine(), sm2_gmssl.GmsslEngine)
    assert "gmssl 3.2.2" in sm2.describe()
    assert "not constant time" in sm2.describe()


@pytest.mark.usefixtures("unchosen")
def test_without_any_engine_the_error_is_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """And all other kinds go on working."""
    monkeypatch.setattr(sm2_libcrypto, "paths", lambda _platform: ["/nowhere/libcrypto.so.3"])
    monkeypatch.setitem(sys.modules, "chalicelib.hsm.sm2_gmssl", None)
    monkeypatch.delattr("chalicelib.hsm.sm2_gmssl")
    hsm = SoftwareHsm.ephemeral("d")
    for _ in range(2):
        with pytest.raises(HsmMisconfigured) as caught:
            hsm.generate(KeyKind.SM2, b"")
        assert "KEYSTEAD_LIBCRYPTO" in str(caught.value)
        assert "/nowhere/libcrypto.so.3 cannot be loaded; gmssl is not installed" in str(caught.value)
    description = hsm.describe()
    assert description["sm2"].startswith("none: ")
    assert "SM2" not in description["kinds"].split(",")
    assert "ML_DSA_87" in description["kinds"].split(",")
    assert hsm.public_key(hsm.generate(KeyKind.EC_P256, b""))


@pytest.mark.usefixtures("unchosen")
@pytest.mark.parametrize("name", ["nothing", "text", "other library"])
def test_a_path_is_taken_or_refused_never_replaced(name: str, tmp_path: Path) -> None:
    path = tmp_path / "libcrypto.so.3"
    reason = "cannot be loaded"
    if name == "text":
        path.write_text("no library")
    if name == "other library":
        path, reason = Path("libc.so.6" if sys.platform == "linux" else "libSystem.dylib"), "is not OpenSSL 3"
    with pytest.raises(HsmMisconfigured, match=f"{path} {reason}$"):
        sm2.use(str(path))


@pytest.mark.usefixtures("unchosen")
def test_a_path_that_fits_is_used() -> None:
    if not library():
        pytest.skip("no OpenSSL 3 with SM2 on this machine")
    assert isinstance(sm2.use(library()), sm2_libcrypto.LibcryptoEngine)
    assert isinstance(sm2.use(sm2.GMSSL), sm2_gmssl.GmsslEngine)
    assert isinstance(sm2.use(), sm2_libcrypto.LibcryptoEngine)


@pytest.mark.usefixtures("unchosen")
def test_the_same_choice_again_loads_nothing() -> None:
    """Each region's HSM makes it."""
    found = sm2.use(sm2.GMSSL)
    assert sm2.use(sm2.GMSSL) is found
    assert sm2.engine() is found


def test_paths_of_a_mac_are_not_the_systems() -> None:
    assert all("openssl@3" in path for path in sm2_libcrypto.paths("darwin"))


class _Wrong(sm2_gmssl.GmsslEngine):
    """Works but for one thing."""

    def __init__(self, wrong: str) -> None:
        super().__init__()
        self._wrong = wrong

    def generate(self) -> tuple[bytes, bytes]:
        scalar, point = super().generate()
        return (bytes(32) if self._wrong == "scalar" else scalar), point

    def private_key(self, scalar: bytes, point: bytes) -> Any:
        return _WrongKey(super().private_key(scalar, point), self._wrong)

    def public_key(self, point: bytes) -> Any:
        return _WrongKey(super().public_key(point), self._wrong)


class _WrongKey:
    def __init__(self, key: Any, wrong: str) -> None:
        self._key = key
        self._wrong = wrong

    def sign(self, digest: bytes) -> bytes:
        made: bytes = self._key.sign(digest[::-1] if self._wrong == "sign" else digest)
        return made

    def verify(self, digest: bytes, signature: bytes) -> bool:
        return self._wrong == "verify" or bool(self._key.verify(digest, signature))

    def encrypt(self, plaintext: bytes) -> bytes:
        made: bytes = self._key.encrypt(plaintext[::-1] if self._wrong == "encrypt" else plaintext)
        return made

    def decrypt(self, ciphertext: bytes) -> bytes | None:
        if self._wrong == "unavailable":
            raise HsmUnavailable
        found: bytes | None = self._key.decrypt(ciphertext)
        return MESSAGE if self._wrong == "decrypt" else found


@pytest.mark.usefixtures("unchosen")
@pytest.mark.parametrize(
    "wrong", ["scalar", "sign", "verify", "encrypt", "decrypt", "unavailable", "nothing at all"]
)
def test_an_engine_that_errs_is_not_used(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """The self-test sees a fault in each operation."""
    monkeypatch.setattr(sm2_libcrypto, "LibcryptoEngine", lambda _path: _Wrong(wrong))
    if wrong == "nothing at all":
        assert isinstance(sm2.use("path"), _Wrong)
        return
    with pytest.raises(HsmMisconfigured, match=r"path (fails|does not give the standard's examples)$"):
        sm2.use("path")


@pytest.mark.usefixtures("unchosen")
def test_threads_that_start_at_once_choose_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    real = sm2._find
    barrier = threading.Barrier(8)

    def find(path: str) -> sm2.Engine | str:
        loaded.append(path)
        return real(sm2.GMSSL)

    monkeypatch.setattr(sm2, "_find", find)

    def work(_number: int) -> sm2.Engine:
        barrier.wait()
        return sm2.engine()

    with ThreadPoolExecutor(8) as pool:
        assert len({id(found) for found in pool.map(work, range(8))}) == 1
    assert loaded == [""]


def test_who_uses_no_sm2_loads_no_engine() -> None:
    """Neither ctypes, nor gmssl and PyCryptodome: cold starts."""
    script = (
        "import sys; from chalicelib.hsm import public; from chalicelib.hsm.software import SoftwareHsm;"
        "from chalicelib.hsm.port import KeyKind; SoftwareHsm.ephemeral('d').generate(KeyKind.EC_P256, b'');"
        "print({'gmssl', 'Cryptodome', 'chalicelib.hsm.sm2_libcrypto'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


# The engines


@pytest.mark.parametrize(("one", "other"), [ENGINES, ENGINES[::-1]])
def test_the_engines_understand_each_other(one: str, other: str) -> None:
    """Each makes keys, signatures and ciphertexts that the other takes; public keys that begin with 04 too."""
    with engine_in_use(one):
        pkcs8 = sm2.generate()
    scalar = nonce_where(lambda nonce: times(nonce, GX + GY).startswith("04"))
    confusing = encoding.encode_pkcs8(scalar.to_bytes(32), bytes.fromhex(times(scalar, GX + GY)))
    for material in (pkcs8, confusing):
        here, there = key_of(material, one), key_of(material, other)
        assert here.public.spki() == there.public.spki()
        digest = here.public.digest(MESSAGE)
        assert digest == there.public.digest(MESSAGE)
        for _ in range(3):
            assert there.public.verify(digest, here.sign(digest))
            for is_raw in (True, False):
                ciphertext = here.public.encrypt(MESSAGE, is_raw=is_raw)
                assert there.decrypt(ciphertext, is_raw=is_raw) == MESSAGE


def test_gmssl_as_it_is_understands_us(engine: sm2.Engine) -> None:
    """And we understand it: the oracle uses its own nonces, key derivation, Z and forms."""
    pkcs8 = sm2.generate()
    scalar, point = encoding.decode_pkcs8(pkcs8)
    key = sm2.PrivateKey(pkcs8)
    for asn1 in (False, True):
        oracle = CryptSM2(scalar.hex(), "", mode=1, asn1=asn1)
        oracle.public_key = point.hex()  # not through its lstrip("04")
        made = oracle.sign_with_sm3(MESSAGE)
        if not asn1:
            made = encoding.encode_signature(int(made[:64], 16), int(made[64:], 16)).hex()
        assert key.public.verify(key.public.digest(MESSAGE), bytes.fromhex(made))
        ours = key.sign(key.public.digest(MESSAGE))
        r, s = encoding.decode_signature(ours)
        assert oracle.verify_with_sm3(ours.hex() if asn1 else f"{r:064x}{s:064x}", MESSAGE)
        assert not oracle.verify_with_sm3(ours.hex() if asn1 else f"{r:064x}{s:064x}", MESSAGE + b"\0")
    assert key.decrypt(oracle.encrypt(MESSAGE), is_raw=True) == MESSAGE
    assert oracle.decrypt(key.public.encrypt(MESSAGE, is_raw=True)) == MESSAGE


def test_keys_are_in_range_and_differ(engine: sm2.Engine) -> None:
    keys = {sm2.generate() for _ in range(8)}
    assert len(keys) == 8
    assert {len(key) for key in keys} == {138}
    for key in keys:
        scalar, point = encoding.decode_pkcs8(key)
        assert bytes.fromhex(times(int.from_bytes(scalar), GX + GY)) == point


def test_nonces_differ(engine: sm2.Engine) -> None:
    key = sm2.PrivateKey(sm2.generate())
    assert len({encoding.decode_signature(key.sign(bytes(32)))[0] for _ in range(16)}) == 16
    assert len({key.public.encrypt(b"x", is_raw=True)[:64] for _ in range(16)}) == 16


def test_no_ciphertext_shows_its_plaintext(engine: sm2.Engine) -> None:
    """GB/T 32918.4, 6.1, A5: of one byte, OpenSSL before 3.2 would show one in 256."""
    key = sm2.PublicKey(bytes.fromhex(POINT))
    refused = make.read("asymmetric_refused")
    vector = next(vector for vector in refused if vector["name"].endswith("ASN1: the key stream is zeros"))
    shown = bytes.fromhex(vector["sealed"])
    assert shown.endswith(b"\x04\x01!")
    hidden = key._key.encrypt(b"!!")
    made = [shown, shown, hidden]

    class Often:
        def encrypt(self, plaintext: bytes) -> bytes:
            assert plaintext == b"!"
            return made.pop(0)

    setattr(key, "_key", Often())  # noqa: B010 - it only encrypts
    assert key.encrypt(b"!", is_raw=False) == hidden
    assert made == []


@pytest.mark.parametrize("size", [1, 31, 32, 33, 4096, 32768])
def test_plaintexts_have_any_length(engine: sm2.Engine, size: int) -> None:
    key = sm2.PrivateKey(sm2.generate())
    for is_raw in (True, False):
        ciphertext = key.public.encrypt(bytes(size), is_raw=is_raw)
        assert key.decrypt(ciphertext, is_raw=is_raw) == bytes(size)
    with pytest.raises(ValueError, match="at least one byte"):
        key.public.encrypt(b"", is_raw=True)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_digests_have_32_bytes(engine: sm2.Engine, length: int) -> None:
    key = sm2.PrivateKey(sm2.generate())
    for use in (key.sign, lambda digest: key.public.verify(digest, b"")):
        with pytest.raises(ValueError, match="32 bytes"):
            use(bytes(length))


@pytest.mark.parametrize("is_raw", [True, False])
def test_every_flipped_bit_of_a_ciphertext_is_damage(is_raw: bool) -> None:  # noqa: FBT001
    """KS-FMT-10.3."""
    with engine_in_use("libcrypto"):
        key = sm2.PrivateKey(sm2.generate())
    for copy in damaged_copies(key.public.encrypt(b"16 bytes of text", is_raw=is_raw)):
        with pytest.raises(Damaged):
            key.decrypt(copy, is_raw=is_raw)


def test_nothing_is_shown(engine: sm2.Engine) -> None:
    pkcs8 = sm2.generate()
    scalar, _ = encoding.decode_pkcs8(pkcs8)
    key = sm2.PrivateKey(pkcs8)
    kept = PrivateKey(KeyKind.SM2, pkcs8)
    for thing in (key, vars(key), kept, vars(kept), engine, vars(engine)):
        assert scalar.hex() not in repr(thing)
        assert str(int.from_bytes(scalar)) not in repr(thing)
        assert repr(scalar)[2:-1] not in repr(thing)


class _MallocInfo(ctypes.Structure):
    """`struct mallinfo2` (malloc.h)."""

    _fields_ = tuple((f"number{at}", ctypes.c_size_t) for at in range(10))
    number7: int
    """Bytes in use."""


def test_libcrypto_leaks_nothing() -> None:
    """Keys, and operations that succeed and that fail: 20 bytes lost by each of them would show."""
    try:
        mallinfo = ctypes.CDLL("libc.so.6").mallinfo2
    except (OSError, AttributeError):
        pytest.skip("needs glibc 2.33 to count what is allocated")
    mallinfo.restype = _MallocInfo
    with engine_in_use("libcrypto"):
        pkcs8 = sm2.generate()
        key = sm2.PrivateKey(pkcs8)
        ciphertext, signature = key.public.encrypt(MESSAGE, is_raw=True), key.sign(bytes(32))
        bad = ciphertext[:-1] + bytes([ciphertext[-1] ^ 1])

        def use() -> None:
            sm2.generate()
            other = sm2.PrivateKey(pkcs8)
            assert other.public.verify(bytes(32), signature)
            assert not other.public.verify(b"x" * 32, signature)
            with pytest.raises(Damaged):
                other.decrypt(bad, is_raw=True)
            other.decrypt(other.public.encrypt(MESSAGE, is_raw=False), is_raw=False)

        in_use = []
        for _ in range(4):
            for _ in range(30):
                use()
            gc.collect()
            in_use.append(mallinfo().number7)
        assert min(after - before for before, after in pairwise(in_use)) < 30 * 20


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_threads_that_end_leave_nothing_in_libcrypto() -> None:
    """Each has a random generator of 10 KB in the library."""

    def resident_kilobytes() -> int:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])

    with engine_in_use("libcrypto"):
        key = sm2.PrivateKey(sm2.generate())
        resident = []
        for _ in range(3):
            for _ in range(100):
                thread = threading.Thread(target=key.sign, args=(bytes(32),))
                thread.start()
                thread.join()
            resident.append(resident_kilobytes())
        assert min(after - before for before, after in pairwise(resident)) < 300


def test_libcrypto_failures_are_outages() -> None:
    """Whatever libcrypto refuses of what was checked before: no memory, no entropy."""
    with engine_in_use("libcrypto") as found:
        assert isinstance(found, sm2_libcrypto.LibcryptoEngine)
        off_the_curve = bytes(63) + b"\1"
        for use in (
            lambda: found.public_key(off_the_curve),
            lambda: found.private_key(b"\xff" * 32, bytes(64)),
            lambda: found.public_key(bytes.fromhex(GX + GY)).sign(bytes(32)),
        ):
            with pytest.raises(HsmUnavailable):
                use()


# Encodings

INTEGERS = st.integers(1, encoding.N - 1)


@given(INTEGERS, INTEGERS)
def test_signatures_have_one_encoding(r: int, s: int) -> None:
    assert encoding.decode_signature(encoding.encode_signature(r, s)) == (r, s)


@pytest.mark.parametrize("number", [0, encoding.N, encoding.N + 1, 2**256 - 1, 2**256, 2**4096])
def test_signatures_are_in_range(number: int) -> None:
    """KS-FMT-10.2."""
    for r, s in ((number, 1), (1, number)):
        with pytest.raises(encoding.Malformed):
            encoding.decode_signature(encoding.encode_signature(r, s))


@pytest.mark.parametrize(
    "length", ["8200c8", "830000c8", "84000000c8", "8800000000000000c8", "80", "ff", "48"]
)
def test_lengths_are_minimal(length: str) -> None:
    """KS-FMT-10.2: that of 200 bytes is 81c8."""
    good = encoding.encode_ciphertext(encoding.Ciphertext(encoding.G, bytes(32), bytes(200)))
    assert encoding.decode_ciphertext(good).c2 == bytes(200)
    front = good.removesuffix(b"\x04\x81\xc8" + bytes(200))
    assert good[:2] == front[:2] == b"\x30\x82"
    body = front[4:] + b"\x04" + bytes.fromhex(length) + bytes(200)
    with pytest.raises(encoding.Malformed):
        encoding.decode_ciphertext(front[:2] + len(body).to_bytes(2) + body)


@settings(max_examples=200)
@given(st.binary(max_size=80))
def test_other_bytes_are_malformed(der: bytes) -> None:
    """Never another error, and what decodes encodes to the same bytes."""
    decoders: list[tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = [
        (encoding.decode_signature, lambda found: encoding.encode_signature(*found)),
        (encoding.decode_ciphertext, encoding.encode_ciphertext),
        (encoding.decode_raw_ciphertext, encoding.encode_raw_ciphertext),
        (encoding.decode_spki, encoding.encode_spki),
        (encoding.decode_pkcs8, lambda found: encoding.encode_pkcs8(*found)),
    ]
    for prefix in (b"", b"\x30", b"\x30\x44\x02\x20", encoding.SPKI):
        for decode, encode in decoders:
            try:
                found = decode(prefix + der)
            except encoding.Malformed:
                continue
            assert encode(found) == prefix + der


@given(st.binary(min_size=1, max_size=300), st.binary(min_size=32, max_size=32))
def test_ciphertexts_have_two_forms(c2: bytes, c3: bytes) -> None:
    parts = encoding.Ciphertext(encoding.G, c3, c2)
    assert encoding.decode_ciphertext(encoding.encode_ciphertext(parts)) == parts
    assert encoding.decode_raw_ciphertext(encoding.encode_raw_ciphertext(parts)) == parts


def test_a_private_key_has_one_encoding() -> None:
    """KS-FMT-5.3: and its scalar is 1 to n - 2."""
    with engine_in_use("gmssl"):
        whole = sm2.generate()
    scalar, point = encoding.decode_pkcs8(whole)
    for at in [*range(36), *range(68, 74)]:
        with pytest.raises(encoding.Malformed):
            encoding.decode_pkcs8(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    for copy in (b"", whole[:-1], whole + b"\0", b"\0" + whole):
        with pytest.raises(encoding.Malformed):
            encoding.decode_pkcs8(copy)
    for number in (0, encoding.N - 1, encoding.N, 2**256 - 1):
        with pytest.raises(encoding.Malformed):
            encoding.decode_pkcs8(encoding.encode_pkcs8(number.to_bytes(32), point))
    with pytest.raises(encoding.Malformed):
        encoding.decode_pkcs8(encoding.encode_pkcs8(scalar, point[:-1] + bytes([point[-1] ^ 1])))


def test_points_are_on_the_curve() -> None:
    """Low order and the like: the group has prime order, so being on the curve and not infinity is enough."""
    root = pow(encoding.B, (encoding.P + 1) // 4, encoding.P)
    assert root * root % encoding.P == encoding.B
    encoding.check_point(bytes(32) + root.to_bytes(32))
    encoding.check_point(encoding.G)
    for point in (
        b"",
        bytes(64),
        b"\x04" + encoding.G,
        encoding.G[:-1],
        encoding.G + b"\0",
        encoding.P.to_bytes(32) + root.to_bytes(32),
        bytes(32) + (root + 1).to_bytes(32),
        b"\xff" * 64,
    ):
        with pytest.raises(encoding.Malformed):
            encoding.check_point(point)


def test_a_public_key_of_sm2_is_not_one_of_p256() -> None:
    p256 = SoftwareHsm.ephemeral("d")
    spki = p256.public_key(p256.generate(KeyKind.EC_P256, b""))
    with pytest.raises(encoding.Malformed):
        sm2.PublicKey.from_spki(spki)
    with pytest.raises(public.BadPublicKey):
        public._load(encoding.SPKI + spki[-64:])
