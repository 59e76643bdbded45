import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from chalicelib.clock import ManualClock
from tests.actions.kms.importing import PADDINGS, import_material, make_external, parameters
from tests.installation import FIPS, Client, Installation, refused


@pytest.mark.parametrize("algorithm", PADDINGS)
def test_a_token_and_a_public_key_for_a_day(kms: Client, clock: ManualClock, algorithm: str) -> None:
    key = make_external(kms)
    answer = parameters(kms, key, algorithm)
    assert answer.KeyId == key
    assert answer.ParametersValidTo == clock.now() + 86400
    assert len(base64.b64decode(answer.ImportToken)) == 32
    assert isinstance(load_der_public_key(base64.b64decode(answer.PublicKey)), RSAPublicKey)


def test_each_call_has_a_token_and_a_key_of_its_own(kms: Client) -> None:
    key = make_external(kms)
    first, second = parameters(kms, key), parameters(kms, key)
    assert first.ImportToken != second.ImportToken
    assert first.PublicKey != second.PublicKey


def test_every_state_but_pending_deletion(kms: Client) -> None:
    key = make_external(kms)
    assert parameters(kms, key)
    import_material(kms, key)
    assert parameters(kms, key)
    kms.DisableKey(KeyId=key)
    assert parameters(kms, key)
    kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    with refused("ResourceUnavailable.CmkStateNotSupport"):
        parameters(kms, key)


def test_refusals(kms: Client, installation: Installation) -> None:
    key = make_external(kms)
    with refused("InvalidParameter"):
        parameters(kms, key, "RSAES_OAEP_SHA_512")
    with refused("InvalidParameter"):
        kms.GetParametersForImport(
            KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_1", WrappingKeySpec="RSA_4096"
        )
    with refused("UnsupportedOperation.NotExternalCmk"):
        parameters(kms, kms.CreateKey(Alias="own").KeyId)
    with refused("InvalidParameterValue.InvalidKeyId"):
        parameters(kms, "x")
    with refused("ResourceUnavailable.CmkNotFound"):
        parameters(installation.client("kms", FIPS), key)


def test_no_secret_stays_in_the_table(kms: Client, installation: Installation) -> None:
    key = make_external(kms)
    token = base64.b64decode(parameters(kms, key).ImportToken)
    rows = installation.service.table("ap-guangzhou").query(f"IT#{installation.root.uin}#ap-guangzhou#{key}")
    assert len(rows) == 1
    for form in (token, base64.b64encode(token), token.hex().encode()):
        assert form not in rows[0].body
        assert form not in rows[0].sk.encode()
