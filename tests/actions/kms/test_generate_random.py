import base64

import pytest

from tests.installation import FIPS, SM, Client, Installation, refused


@pytest.mark.parametrize("region", [SM, FIPS])
@pytest.mark.parametrize("count", [1, 32, 1024])
def test_from_1_to_1024_bytes(installation: Installation, region: str, count: int) -> None:
    kms = installation.client("kms", region)
    assert len(base64.b64decode(kms.GenerateRandom(NumberOfBytes=count).Plaintext)) == count


def test_they_are_never_the_same(kms: Client) -> None:
    assert len({kms.GenerateRandom(NumberOfBytes=16).Plaintext for _ in range(10)}) == 10


def test_values_outside_the_limits_are_refused(kms: Client) -> None:
    for wrong in (0, 1025, -1, 1.5, True, "x", [1]):
        with refused("InvalidParameter"):
            kms.call_raw("GenerateRandom", {"NumberOfBytes": wrong})
