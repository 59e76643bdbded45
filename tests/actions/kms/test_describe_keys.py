from tests.actions.kms.arrange_keys import UNKNOWN, describe, make
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, refused


def test_the_answer_has_the_order_of_the_question(kms: Client) -> None:
    keys = [make(kms, f"k{i}", state) for i, state in enumerate(("Enabled", "PendingDelete", "Archived"))]
    shown = kms.DescribeKeys(KeyIds=keys[::-1]).KeyMetadatas
    assert [m.KeyId for m in shown] == keys[::-1]
    assert [outputs_of(m) for m in shown] == [outputs_of(describe(kms, key)) for key in keys[::-1]]


def outputs_of(metadata: object) -> object:
    return metadata._serialize(allow_none=True)  # type: ignore[attr-defined]


def test_from_1_to_100_keys_are_described_at_once(kms: Client) -> None:
    keys = [make(kms, f"k{i}", Type=2) for i in range(100)]
    assert [m.KeyId for m in kms.DescribeKeys(KeyIds=keys).KeyMetadatas] == keys
    assert [m.KeyId for m in kms.DescribeKeys(KeyIds=keys[:1]).KeyMetadatas] == keys[:1]
    for wrong in ([], [*keys, make(kms, "more")]):
        with refused("InvalidParameter"):
            kms.DescribeKeys(KeyIds=wrong)


def test_one_bad_id_refuses_all(kms: Client) -> None:
    key = make(kms)
    with refused("ResourceUnavailable.CmkNotFound"):
        kms.DescribeKeys(KeyIds=[key, UNKNOWN])
    with refused("InvalidParameterValue.InvalidKeyId"):
        kms.DescribeKeys(KeyIds=[key, "x"])
    with refused("InvalidParameterValue.DuplicatedKeyId"):
        kms.DescribeKeys(KeyIds=[key, key])
    assert len(outputs(kms.DescribeKeys(KeyIds=[key]))["KeyMetadatas"]) == 1
