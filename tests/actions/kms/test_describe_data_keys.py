from tests.actions.kms.arrange_data_keys import STATES, UNKNOWN, describe, make, make_key
from tests.actions.ssm.arrange import event_rows
from tests.installation import Client, Installation, refused


def test_all_in_the_order_of_the_request(kms: Client) -> None:
    data_keys = [make(kms, state, state=state) for state in STATES]
    data_keys.append(make(kms, "other", KeyId=make_key(kms, "another")))
    found = kms.DescribeDataKeys(DataKeyIds=data_keys[::-1]).DataKeyMetadatas
    assert [m.DataKeyId for m in found] == data_keys[::-1]
    assert [m.KeyName for m in found] == ["another", "cmk", "cmk", "cmk"]
    for metadata in found:
        assert metadata.to_json_string() == describe(kms, metadata.DataKeyId).to_json_string()


def test_one_that_is_not_there_fails_them_all(installation: Installation, kms: Client) -> None:
    data_key = make(kms)
    with refused("ResourceUnavailable.DataKeyNotFound"):
        kms.DescribeDataKeys(DataKeyIds=[data_key, UNKNOWN])
    with refused("InvalidParameterValue.InvalidDataKeyId"):
        kms.DescribeDataKeys(DataKeyIds=[data_key, "d"])
    assert event_rows(installation)


def test_limits_of_the_list(kms: Client) -> None:
    data_key = make(kms)
    with refused("InvalidParameterValue.DuplicatedDataKeyId"):
        kms.DescribeDataKeys(DataKeyIds=[data_key, data_key])
    with refused("InvalidParameterValue"):
        kms.DescribeDataKeys(DataKeyIds=[])
    many = [f"{i:08d}{UNKNOWN[8:]}" for i in range(101)]
    with refused("InvalidParameterValue"):
        kms.DescribeDataKeys(DataKeyIds=many)
    with refused("ResourceUnavailable.DataKeyNotFound"):
        kms.DescribeDataKeys(DataKeyIds=many[:100])
    with refused("MissingParameter"):
        kms.DescribeDataKeys()
