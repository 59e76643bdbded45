import pytest

from tests.actions.kms.arrange_keys import make
from tests.actions.ssm.arrange import outputs
from tests.installation import FIPS, SM, Installation


@pytest.mark.parametrize(("region", "algorithm"), [(SM, "SM4"), (FIPS, "AES_256")])
def test_the_symmetric_algorithm_follows_the_region(
    installation: Installation, region: str, algorithm: str
) -> None:
    pairs = outputs(installation.client("kms", region).ListAlgorithms())["SymmetricAlgorithms"]
    assert pairs[0] == {"KeyUsage": "ENCRYPT_DECRYPT", "Algorithm": algorithm}
    # The extensions: the algorithm is the user's choice.
    assert pairs[1:] == [
        {"KeyUsage": "ENCRYPT_DECRYPT_SM4", "Algorithm": "SM4"},
        {"KeyUsage": "ENCRYPT_DECRYPT_AES_256", "Algorithm": "AES_256"},
    ]


@pytest.mark.parametrize("region", [SM, FIPS])
def test_a_key_can_be_made_of_every_usage_on_offer(installation: Installation, region: str) -> None:
    kms = installation.client("kms", region)
    offered = outputs(kms.ListAlgorithms())
    assert set(offered) == {
        "SymmetricAlgorithms",
        "AsymmetricAlgorithms",
        "AsymmetricSignVerifyAlgorithms",
    }
    usages = {pair["KeyUsage"] for pairs in offered.values() for pair in pairs}
    for at, usage in enumerate(sorted(usages)):
        make(kms, f"k{at}", KeyUsage=usage)
    assert {m.KeyUsage for m in kms.ListKeyDetail(KeyUsage="ALL", Limit=200).KeyMetadatas} == usages
    assert all(pair["Algorithm"] for pairs in offered.values() for pair in pairs)
