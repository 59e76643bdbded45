"""What every HSM backend does with asymmetric and imported keys, SM2 with each engine."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import pytest
from cryptography.hazmat.primitives.hashes import SM3, Hash

from chalicelib.formats.aead import KEY_BYTES
from chalicelib.hsm import public
from chalicelib.hsm.asymmetric import OPENED_BY, SIGNED_BY, is_asymmetric
from chalicelib.hsm.port import (
    Damaged,
    Hsm,
    HsmKey,
    HsmUnavailable,
    KeyKind,
    Padding,
    SignatureAlgorithm,
)
from chalicelib.hsm.sm2 import PublicKey
from tests.formats.damage import damaged_copies
from tests.hsm.conftest import ENGINES, engine_in_use
from tests.hsm.test_contract import BACKENDS, Open, of_backend

pytestmark = pytest.mark.contract

ASYMMETRIC: Final = [kind for kind in KeyKind if is_asymmetric(kind)]
SYMMETRIC: Final = list(KEY_BYTES)
RSA_PADDINGS: Final = [padding for padding, kind in OPENED_BY.items() if kind is KeyKind.RSA_2048]
MESSAGE: Final = b"message digest"
Use = KeyKind | SignatureAlgorithm | Padding


@dataclass
class Bench:
    """A domain, and a key of each kind in it."""

    hsm: Hsm
    open_again: Callable[[], Hsm]
    open_other: Callable[[], Hsm]
    _keys: dict[KeyKind, HsmKey] = field(default_factory=dict)

    def key(self, kind: KeyKind) -> HsmKey:
        if kind not in self._keys:
            self._keys[kind] = self.hsm.generate(kind, b"place")
        return self._keys[kind]

    def public(self, kind: KeyKind) -> bytes:
        return self.hsm.public_key(self.key(kind))

    def pem(self, kind: KeyKind) -> str:
        return public.to_pem(self.public(kind))


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    backend, engine = request.param
    opened: list[Hsm] = []
    open_domain: Open = BACKENDS[backend](tmp_path_factory.mktemp("home"))

    def remember(domain: str) -> Hsm:
        opened.append(open_domain(domain))
        return opened[-1]

    with engine_in_use(engine):
        yield Bench(
            remember("ap-guangzhou"), lambda: remember("ap-guangzhou"), lambda: remember("ap-beijing")
        )
    for hsm in opened:
        hsm.close()


def over(uses: Iterable[Use]) -> pytest.MarkDecorator:
    """Each backend with each of the uses, what needs SM2 with each engine."""
    cases = [
        pytest.param((backend, engine), use, id=f"{backend}-{use.name}-{engine}", marks=of_backend(backend))
        for backend in BACKENDS
        for use in uses
        for engine in (ENGINES if kind_of(use) is KeyKind.SM2 else ENGINES[:1])
    ]
    return pytest.mark.parametrize(("bench", "use"), cases, indirect=["bench"])


def kind_of(use: Use) -> KeyKind:
    match use:
        case KeyKind():
            return use
        case SignatureAlgorithm():
            return SIGNED_BY[use]
        case Padding():
            return OPENED_BY[use]


each_backend = pytest.mark.parametrize(
    "bench",
    [pytest.param((name, ENGINES[0]), id=name, marks=of_backend(name)) for name in BACKENDS],
    indirect=True,
)


def one_byte_flipped(whole: bytes) -> Iterator[bytes]:
    for at in range(len(whole)):
        yield whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :]


def digest_of(bench: Bench, algorithm: SignatureAlgorithm, message: bytes) -> bytes:
    match algorithm:
        case SignatureAlgorithm.SM2DSA:
            return PublicKey.from_spki(bench.public(KeyKind.SM2)).digest(message)
        case SignatureAlgorithm.ECC_P384_R1:
            return hashlib.sha384(message).digest()
        case _:
            return hashlib.sha256(message).digest()


# Keys


@over(ASYMMETRIC)
def test_a_key_has_a_public_half(bench: Bench, use: KeyKind) -> None:
    """KS-FMT-10: and two keys have two."""
    algorithm = {
        KeyKind.RSA_2048: "300d06092a864886f70d0101010500",
        KeyKind.EC_P256: "301306072a8648ce3d020106082a8648ce3d030107",
        KeyKind.EC_P384: "301006072a8648ce3d020106052b81040022",
        KeyKind.SM2: "301306072a8648ce3d020106082a811ccf5501822d",
        KeyKind.ML_KEM_1024: "300b0609608648016503040403",
        KeyKind.ML_DSA_87: "300b0609608648016503040313",
    }[use]
    key = bench.key(use)
    assert (key.kind, key.binding) == (use, b"place")
    found = bench.public(use)
    assert found == bench.hsm.public_key(key)
    assert found[2:24].find(bytes.fromhex(algorithm)[:9]) in (0, 1, 2)
    assert bytes.fromhex(algorithm) in found[:32]
    assert bench.hsm.public_key(bench.hsm.generate(use, b"place")) != found


@over(ASYMMETRIC)
def test_a_token_works_only_as_its_kind_in_its_place_and_domain(bench: Bench, use: KeyKind) -> None:
    """KS-FMT-5.1."""
    key = bench.key(use)
    bench.hsm.public_key(key)
    other_kind = next(other for other in ASYMMETRIC if other is not use)
    for hsm, wrong in (
        (bench.hsm, HsmKey(use, key.token, b"Place")),
        (bench.hsm, HsmKey(use, key.token, b"")),
        (bench.hsm, HsmKey(use, key.token + b"pla", b"ce")),
        (bench.hsm, HsmKey(other_kind, key.token, b"place")),
        (bench.open_other(), key),
    ):
        with pytest.raises(Damaged):
            hsm.public_key(wrong)
    with pytest.raises(Damaged):
        bench.hsm.encrypt(HsmKey(KeyKind.SM4, key.token, b"place"), b"", b"")


@over([KeyKind.EC_P256, KeyKind.ML_DSA_87])
def test_a_changed_token_is_damaged(bench: Bench, use: KeyKind) -> None:
    """KS-FMT-5.2."""
    for copy in damaged_copies(bench.key(use).token):
        with pytest.raises(Damaged):
            bench.hsm.public_key(HsmKey(use, copy, b"place"))


@over(ASYMMETRIC)
def test_keys_outlive_the_process(bench: Bench, use: KeyKind) -> None:
    assert bench.open_again().public_key(bench.key(use)) == bench.public(use)


@over(ASYMMETRIC)
def test_a_key_is_not_shown(bench: Bench, use: KeyKind) -> None:
    key = bench.key(use)
    bench.hsm.public_key(key)
    for shown in (repr(key), repr(bench.hsm), repr(vars(bench.hsm)), str(dict(bench.hsm.describe()))):
        assert key.token.hex() not in shown
        assert repr(key.token) not in shown


@each_backend
def test_uses_that_do_not_fit_the_kind_are_refused(bench: Bench) -> None:
    """Every kind with every use: ValueError, and no Damaged, which would look like a bad ciphertext."""
    hsm = bench.hsm
    ciphertexts = {padding: public.encrypt_to(bench.pem(kind), padding, b"0" * 16) for padding, kind in OPENED_BY.items()}  # fmt: skip
    uses: list[tuple[Sequence[KeyKind], Callable[[HsmKey], object]]] = [
        (SYMMETRIC, lambda key: hsm.encrypt(key, b"", b"")),
        (SYMMETRIC, lambda key: hsm.decrypt(key, b"", b"")),
        (SYMMETRIC, hsm.check_value),
        (ASYMMETRIC, hsm.public_key),
        ([KeyKind.ML_KEM_1024], lambda key: hsm.decapsulate(key, bytes(1568))),
    ]
    for algorithm, kind in SIGNED_BY.items():
        uses.append(([kind], lambda key, use=algorithm: hsm.sign(key, use, b"", is_digest=False)))  # type: ignore[misc]
    for padding, kind in OPENED_BY.items():
        uses.append(([kind], lambda key, use=padding: hsm.decrypt_asymmetric(key, use, ciphertexts[use])))  # type: ignore[misc]
        wrapping = [kind] if kind is KeyKind.RSA_2048 else []
        uses.append((wrapping, lambda key, use=padding: hsm.import_key(key, use, ciphertexts[use], KeyKind.SM4, b"")))  # type: ignore[misc]  # fmt: skip
    for kinds, use in uses:
        for kind in KeyKind:
            key = bench.key(kind)
            if kind not in kinds:
                with pytest.raises(ValueError, match="do not fit together"):
                    use(key)
                continue
            try:
                use(key)
            except Damaged:  # `decrypt` of nothing
                assert kind in SYMMETRIC


@each_backend
def test_a_closed_hsm_is_unavailable(bench: Bench) -> None:
    hsm = bench.open_again()
    for kind in KeyKind:
        if is_asymmetric(kind):
            hsm.public_key(bench.key(kind))
    hsm.close()
    sm4, rsa, p256 = (bench.key(kind) for kind in (KeyKind.SM4, KeyKind.RSA_2048, KeyKind.EC_P256))
    for use in (
        lambda: hsm.generate(KeyKind.EC_P256, b""),
        lambda: hsm.public_key(p256),
        lambda: hsm.sign(p256, SignatureAlgorithm.ECC_P256_R1, b"", is_digest=False),
        lambda: hsm.decrypt_asymmetric(rsa, Padding.RSAES_OAEP_SHA_1, bytes(256)),
        lambda: hsm.decapsulate(bench.key(KeyKind.ML_KEM_1024), bytes(1568)),
        lambda: hsm.import_key(rsa, Padding.RSAES_OAEP_SHA_1, bytes(256), KeyKind.SM4, b""),
        lambda: hsm.check_value(sm4),
    ):
        with pytest.raises(HsmUnavailable):
            use()


# Signatures


@over(SignatureAlgorithm)
def test_a_signature_is_the_keys_over_the_message(bench: Bench, use: SignatureAlgorithm) -> None:
    kind = SIGNED_BY[use]
    other = bench.hsm.generate(kind, b"other")
    for message in (b"", MESSAGE, bytes(4096)):
        signature = bench.hsm.sign(bench.key(kind), use, message, is_digest=False)
        public.verify(bench.public(kind), use, message, signature, is_digest=False)
        for key, text, made in (
            (bench.public(kind), message + b"\0", signature),
            (bench.hsm.public_key(other), message, signature),
            (bench.public(kind), message, b""),
            (bench.public(kind), message, signature[:-1]),
            (bench.public(kind), message, signature + b"\0"),
        ):
            with pytest.raises(public.BadSignature):
                public.verify(key, use, text, made, is_digest=False)


@over(SignatureAlgorithm)
def test_every_changed_signature_is_refused(bench: Bench, use: SignatureAlgorithm) -> None:
    """KS-FMT-10.2."""
    kind = SIGNED_BY[use]
    signature = bench.hsm.sign(bench.key(kind), use, MESSAGE, is_digest=False)
    for copy in list(one_byte_flipped(signature))[:: max(1, len(signature) // 16)]:
        with pytest.raises(public.BadSignature):
            public.verify(bench.public(kind), use, MESSAGE, copy, is_digest=False)


@over(algorithm for algorithm in SignatureAlgorithm if algorithm is not SignatureAlgorithm.ML_DSA_87)
def test_signing_a_digest_is_signing_the_message(bench: Bench, use: SignatureAlgorithm) -> None:
    """KS-FMT-10.1."""
    key, public_key = bench.key(SIGNED_BY[use]), bench.public(SIGNED_BY[use])
    digest = digest_of(bench, use, MESSAGE)
    public.verify(public_key, use, MESSAGE, bench.hsm.sign(key, use, digest, is_digest=True), is_digest=False)
    public.verify(public_key, use, digest, bench.hsm.sign(key, use, MESSAGE, is_digest=False), is_digest=True)
    with pytest.raises(public.BadSignature):
        public.verify(
            public_key, use, digest, bench.hsm.sign(key, use, digest, is_digest=False), is_digest=True
        )


@over(SignatureAlgorithm)
def test_digests_have_their_length(bench: Bench, use: SignatureAlgorithm) -> None:
    """KS-FMT-10.1: 32 bytes; 48 or 32 for P-384; ML-DSA takes none."""
    key, public_key = bench.key(SIGNED_BY[use]), bench.public(SIGNED_BY[use])
    fitting = {SignatureAlgorithm.ECC_P384_R1: {32, 48}, SignatureAlgorithm.ML_DSA_87: set()}.get(use, {32})
    for length in (0, 1, 20, 31, 32, 33, 47, 48, 49, 64, 4096):
        digest = bytes(range(256))[:length].ljust(length, b"x")
        if length in fitting:
            signature = bench.hsm.sign(key, use, digest, is_digest=True)
            public.verify(public_key, use, digest, signature, is_digest=True)
            continue
        with pytest.raises(ValueError):  # noqa: PT011 - any text
            bench.hsm.sign(key, use, digest, is_digest=True)
        with pytest.raises(ValueError):  # noqa: PT011
            public.verify(public_key, use, digest, b"", is_digest=True)


@over(SignatureAlgorithm)
def test_a_public_key_checks_its_own_algorithms_only(bench: Bench, use: SignatureAlgorithm) -> None:
    for kind in ASYMMETRIC:
        if kind is not SIGNED_BY[use]:
            with pytest.raises(ValueError, match="do not fit together"):
                public.verify(bench.public(kind), use, MESSAGE, b"", is_digest=False)


@each_backend
def test_an_sm2_digest_has_the_user_id_in_it(bench: Bench) -> None:
    """KS-FMT-10.1: SM3 of the message alone is another message."""
    plain = Hash(SM3())
    plain.update(MESSAGE)
    use, public_key = SignatureAlgorithm.SM2DSA, bench.public(KeyKind.SM2)
    signature = bench.hsm.sign(bench.key(KeyKind.SM2), use, plain.finalize(), is_digest=True)
    with pytest.raises(public.BadSignature):
        public.verify(public_key, use, MESSAGE, signature, is_digest=False)


# Encryption


@over(Padding)
def test_what_is_encrypted_to_a_key_decrypts(bench: Bench, use: Padding) -> None:
    kind = OPENED_BY[use]
    overhead = {Padding.SM2_RAW: 96}.get(use)
    for size in (1, 16, 190):
        ciphertext = public.encrypt_to(bench.pem(kind), use, bytes(size))
        assert bench.hsm.decrypt_asymmetric(bench.key(kind), use, ciphertext) == bytes(size)
        assert overhead is None or len(ciphertext) == overhead + size
        assert public.encrypt_to(bench.pem(kind), use, bytes(size)) != ciphertext


@over([padding for padding in Padding if padding is not Padding.RSAES_PKCS1_V1_5])
def test_every_changed_ciphertext_is_damaged(bench: Bench, use: Padding) -> None:
    """KS-FMT-10.3, KS-FMT-10.4: each byte, each shorter one, a byte more at either end."""
    kind = OPENED_BY[use]
    ciphertext = public.encrypt_to(bench.pem(kind), use, b"0123456789abcdef")
    lengths = range(0, len(ciphertext), 16 if kind is KeyKind.RSA_2048 else 1)
    copies = [
        *one_byte_flipped(ciphertext),
        *[ciphertext[:length] for length in lengths],
        ciphertext + b"\0",
        b"\0" + ciphertext,
    ]
    for copy in copies:
        with pytest.raises(Damaged) as caught:
            bench.hsm.decrypt_asymmetric(bench.key(kind), use, copy)
        assert caught.value.args == ()


@each_backend
def test_bad_pkcs1_padding_is_rejected_implicitly(bench: Bench) -> None:
    """KS-FMT-10.4: other bytes, always the same for the same ciphertext, and no error."""
    use, key = Padding.RSAES_PKCS1_V1_5, bench.key(KeyKind.RSA_2048)
    ciphertext = public.encrypt_to(bench.pem(KeyKind.RSA_2048), use, b"plaintext")
    answers = []
    for copy in list(one_byte_flipped(ciphertext))[1::8]:
        answers.append(bench.hsm.decrypt_asymmetric(key, use, copy))
        assert bench.hsm.decrypt_asymmetric(key, use, copy) == answers[-1]
    assert b"plaintext" not in answers
    # Their lengths are made up too: two may be equal where they are very short.
    long = [answer for answer in answers if len(answer) > 8]
    assert len(set(long)) == len(long) > 0
    for copy in (ciphertext[:-1], ciphertext + b"\0", b"", b"\xff" * 256):
        with pytest.raises(Damaged):
            bench.hsm.decrypt_asymmetric(key, use, copy)


@each_backend
def test_bad_padding_takes_no_other_time(bench: Bench) -> None:
    """KS-FMT-10.4, KS-FMT-10.5: as far as a test can see; taken in turns, so that load is the same for both."""
    use, key, pem = Padding.RSAES_PKCS1_V1_5, bench.key(KeyKind.RSA_2048), bench.pem(KeyKind.RSA_2048)
    good = public.encrypt_to(pem, use, bytes(15))
    bad = good[:-1] + bytes([good[-1] ^ 1])

    def refused_import(wrapped: bytes) -> None:
        with pytest.raises(Damaged):
            bench.hsm.import_key(key, use, wrapped, KeyKind.SM4, b"")

    for operation in (lambda wrapped: bench.hsm.decrypt_asymmetric(key, use, wrapped), refused_import):
        times: dict[bytes, list[float]] = {good: [], bad: []}
        for turn in range(200):
            wrapped = (good, bad)[turn % 2]
            start = time.thread_time()
            operation(wrapped)
            times[wrapped].append(time.thread_time() - start)
        assert 0.75 < median(times[good]) / median(times[bad]) < 1.33


@each_backend
def test_a_decapsulated_secret_is_the_encapsulated_one(bench: Bench) -> None:
    """KS-FMT-10.7."""
    key = bench.key(KeyKind.ML_KEM_1024)
    secret, encapsulated = public.encapsulate(bench.public(KeyKind.ML_KEM_1024))
    assert (len(secret), len(encapsulated)) == (32, 1568)
    assert bench.hsm.decapsulate(key, encapsulated) == secret
    assert public.encapsulate(bench.public(KeyKind.ML_KEM_1024)) != (secret, encapsulated)
    for copy in list(one_byte_flipped(encapsulated))[::16]:
        assert bench.hsm.decapsulate(key, copy) != secret
    for copy in (b"", encapsulated[:-1], encapsulated + b"\0"):
        with pytest.raises(Damaged):
            bench.hsm.decapsulate(key, copy)


# Import


@over(RSA_PADDINGS)
def test_an_imported_key_is_the_one_that_was_wrapped(bench: Bench, use: Padding) -> None:
    """KS-FMT-10.5."""
    wrapping = bench.key(KeyKind.RSA_2048)
    for kind, size in KEY_BYTES.items():
        material = bench.hsm.random(size)
        wrapped = public.encrypt_to(bench.pem(KeyKind.RSA_2048), use, material)
        key = bench.hsm.import_key(wrapping, use, wrapped, kind, b"there")
        assert (key.kind, key.binding) == (kind, b"there")
        message = bench.hsm.encrypt(key, b"plaintext", b"")
        again = bench.hsm.import_key(wrapping, use, wrapped, kind, b"elsewhere")
        assert bench.hsm.decrypt(again, message, b"") == b"plaintext"
        with pytest.raises(Damaged):
            bench.hsm.decrypt(HsmKey(kind, key.token, b"elsewhere"), message, b"")
        assert bench.hsm.check_value(key) == bench.hsm.check_value(again)


@over(RSA_PADDINGS)
def test_every_bad_import_has_one_outcome(bench: Bench, use: Padding) -> None:
    """KS-FMT-10.5."""
    key, pem = bench.key(KeyKind.RSA_2048), bench.pem(KeyKind.RSA_2048)
    other = public.to_pem(bench.hsm.public_key(bench.hsm.generate(KeyKind.RSA_2048, b"")))
    for kind, size in KEY_BYTES.items():
        good = public.encrypt_to(pem, use, bytes(size))
        lengths = {0, 1, 15, 16, 17, 24, 31, 32, 33, 190} - {size}
        bad = [public.encrypt_to(pem, use, bytes(length)) for length in sorted(lengths)]
        bad += list(one_byte_flipped(good))[::4]
        bad += [public.encrypt_to(other, use, bytes(size)), b"", good[:-1], good + b"\0", b"\xff" * 256]
        bad += [
            public.encrypt_to(pem, padding, bytes(size)) for padding in RSA_PADDINGS if padding is not use
        ]
        for wrapped in bad:
            with pytest.raises(Damaged) as caught:
                bench.hsm.import_key(key, use, wrapped, kind, b"")
            assert caught.value.args == ()
        assert bench.hsm.import_key(key, use, good, kind, b"").kind is kind


@each_backend
def test_what_implicit_rejection_answers_is_not_imported(bench: Bench) -> None:
    """KS-FMT-10.5: one bad ciphertext in 245 answers as many bytes as a key has."""
    use, key, pem = Padding.RSAES_PKCS1_V1_5, bench.key(KeyKind.RSA_2048), bench.pem(KeyKind.RSA_2048)
    sizes = {size: kind for kind, size in KEY_BYTES.items()}
    for _ in range(3000):
        bad = bytearray(public.encrypt_to(pem, use, b"plaintext"))
        bad[-1] ^= 1
        answer = bench.hsm.decrypt_asymmetric(key, use, bytes(bad))
        if len(answer) in sizes:
            break
    with pytest.raises(Damaged):
        bench.hsm.import_key(key, use, bytes(bad), sizes[len(answer)], b"")


@each_backend
def test_only_symmetric_keys_are_imported(bench: Bench) -> None:
    wrapped = public.encrypt_to(bench.pem(KeyKind.RSA_2048), Padding.RSAES_OAEP_SHA_1, bytes(32))
    for kind in ASYMMETRIC:
        with pytest.raises(ValueError, match="do not fit together"):
            bench.hsm.import_key(bench.key(KeyKind.RSA_2048), Padding.RSAES_OAEP_SHA_1, wrapped, kind, b"")


@over(SYMMETRIC)
def test_check_values_tell_keys_apart(bench: Bench, use: KeyKind) -> None:
    """KS-FMT-4.5."""
    keys = [bench.hsm.generate(use, b"place") for _ in range(8)]
    values = [bench.hsm.check_value(key) for key in keys]
    assert {len(value) for value in values} == {32}
    assert len(set(values)) == 8
    assert values == [bench.hsm.check_value(key) for key in keys]


# Threads


@over(ASYMMETRIC)
def test_threads_work_at_once(bench: Bench, use: KeyKind) -> None:
    hsm, key, public_key = bench.hsm, bench.key(use), bench.public(use)
    algorithms = [algorithm for algorithm, kind in SIGNED_BY.items() if kind is use]
    paddings = [padding for padding, kind in OPENED_BY.items() if kind is use]

    def work(number: int) -> bool:
        message = number.to_bytes(8)
        for algorithm in algorithms:
            public.verify(
                public_key,
                algorithm,
                message,
                hsm.sign(key, algorithm, message, is_digest=False),
                is_digest=False,
            )
        for padding in paddings:
            ciphertext = public.encrypt_to(public.to_pem(public_key), padding, message)
            assert hsm.decrypt_asymmetric(key, padding, ciphertext) == message
        if use is KeyKind.ML_KEM_1024:
            secret, encapsulated = public.encapsulate(public_key)
            assert hsm.decapsulate(key, encapsulated) == secret
        return hsm.public_key(key) == public_key

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(12)))
