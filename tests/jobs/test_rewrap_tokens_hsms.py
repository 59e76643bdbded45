"""A domain key rotates and its older generation goes, on each kind of HSM, seen by the official client."""

import base64
import uuid
from collections.abc import Callable, Iterator

import pytest

from chalicelib.clock import ManualClock
from chalicelib.domain_rotation import check_retirable
from chalicelib.hsm.pkcs11 import Dialect, Pkcs11Hsm
from chalicelib.hsm.port import Hsm, Padding
from chalicelib.hsm.public import encrypt_to, to_pem
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.jobs.rewrap_tokens import SETTLING_SECONDS, rewrap_tokens
from chalicelib.settings import Settings
from tests.hsm import softhsm
from tests.installation import SM, Client, Installation
from tests.scenarios import PLAINTEXT, WRAPPING

USAGES = {
    "ASYMMETRIC_SIGN_VERIFY_RSA_2048": "RSA_PSS_SHA_256",
    "ASYMMETRIC_SIGN_VERIFY_ECC": "ECC_P256_R1",
    "ASYMMETRIC_SIGN_VERIFY_ECDSA384": "ECC_P384_R1",
    "ASYMMETRIC_SIGN_VERIFY_SM2": "SM2DSA",
}
"""Usage -> how its keys sign."""


class OnHsm(Installation):
    """An installation on domains of a given kind."""

    def __init__(self, clock: ManualClock, make: Callable[[str], Hsm]) -> None:
        self._make = make
        super().__init__(clock)

    def open_hsm(self, domain: str) -> Hsm:
        return self._make(domain)


@pytest.fixture(params=["software", pytest.param("softhsm", marks=pytest.mark.softhsm)])
def installation(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Installation]:
    if request.param == "software":
        made = OnHsm(clock, SoftwareHsm.ephemeral)
    else:
        token = softhsm.new_token().open()
        name, fallbacks = uuid.uuid4().hex[:8], frozenset(Settings().hsm_fallbacks)

        def make(domain: str) -> Hsm:
            hsm = Pkcs11Hsm(f"{name}-{domain}", token, Dialect.of({}), fallbacks)
            hsm.rotate()
            return hsm

        made = OnHsm(clock, make)
    yield made
    made.service.close()


def start_import(kms: Client) -> dict[str, str]:
    """Parameters of an import that only has to be made."""
    key_id = kms.CreateKey(Alias="brought", Type=2).KeyId
    given = kms.GetParametersForImport(KeyId=key_id, **WRAPPING)
    public_key = to_pem(base64.b64decode(given.PublicKey))
    material = encrypt_to(public_key, Padding.RSAES_OAEP_SHA_256, bytes(range(16)))
    return {
        "KeyId": key_id,
        "ImportToken": given.ImportToken,
        "EncryptedKeyMaterial": base64.b64encode(material).decode(),
    }


def test_clients_notice_nothing_of_a_new_domain_key_nor_of_the_end_of_the_old_one(
    installation: Installation, kms: Client, clock: ManualClock
) -> None:
    blobs = []
    for usage in ("ENCRYPT_DECRYPT", "ENCRYPT_DECRYPT_AES_256"):
        key_id = kms.CreateKey(Alias=usage.lower().replace("_", "-"), KeyUsage=usage).KeyId
        kms.EnableKeyRotation(KeyId=key_id)
        for _ in range(2):
            blobs.append(kms.Encrypt(KeyId=key_id, Plaintext=PLAINTEXT).CiphertextBlob)
            kms.RotateKey(KeyId=key_id)
            clock.advance(86400)
    signed = {}
    for usage, algorithm in USAGES.items():
        key_id = kms.CreateKey(Alias=usage[11:].lower().replace("_", "-"), KeyUsage=usage).KeyId
        made = kms.SignByAsymmetricKey(KeyId=key_id, Algorithm=algorithm, Message=PLAINTEXT)
        signed[key_id, algorithm] = (made.Signature, kms.GetPublicKey(KeyId=key_id).PublicKey)
    brought = start_import(kms)

    def works() -> None:
        for blob in blobs:
            assert kms.Decrypt(CiphertextBlob=blob).Plaintext == PLAINTEXT
        for (key_id, algorithm), (signature, public_key) in signed.items():
            call = {"KeyId": key_id, "Algorithm": algorithm, "Message": PLAINTEXT}
            assert kms.VerifyByAsymmetricKey(**call, SignatureValue=signature).SignatureValid
            assert kms.GetPublicKey(KeyId=key_id).PublicKey == public_key
            again = kms.SignByAsymmetricKey(**call).Signature
            assert kms.VerifyByAsymmetricKey(**call, SignatureValue=again).SignatureValid

    service = installation.service
    hsm = service.hsm(SM)
    assert hsm.rotate().number == 2
    works()
    outcome = rewrap_tokens(service, SM)
    assert (outcome.done, outcome.failed, outcome.finished) == (7, 0, True)
    works()
    clock.advance(SETTLING_SECONDS)
    rewrap_tokens(service, SM)
    check_retirable(service, SM, 1)
    hsm.retire(1)
    assert tuple(hsm.generations()) == (2,)
    works()
    kms.ImportKeyMaterial(**brought)
    blob = kms.Encrypt(KeyId=brought["KeyId"], Plaintext=PLAINTEXT).CiphertextBlob
    assert kms.Decrypt(CiphertextBlob=blob).Plaintext == PLAINTEXT
