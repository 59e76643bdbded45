from tests.actions.ssm.arrange import outputs
from tests.installation import Client


def test_the_service_is_open_and_nothing_is_owed(ssm: Client) -> None:
    found = outputs(ssm.GetServiceStatus())
    assert found["ServiceEnabled"] is True
    assert found["AccessKeyEscrowEnabled"] is False
    assert {k: v for k, v in found.items() if v is not None and not isinstance(v, bool)} == {
        "InvalidType": 1,
        "SecretLimit": 1000,
    }
