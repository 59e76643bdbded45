from tests.actions.kms.arrange_keys import DAY, call, make, rotate
from tests.installation import Client, Installation, refused


def test_the_generations_newest_first(installation: Installation, kms: Client) -> None:
    key, created = make(kms), installation.clock.now()
    kms.EnableKeyRotation(KeyId=key)
    rotate(installation, kms, key, 11)  # more than fit into the key's own row
    answer = call(kms, "ListKeyRotations", KeyId=key, Limit=200)
    assert answer["TotalCount"] == 12
    assert answer["Rotations"] == [
        {"Version": v, "CreateTime": created + (v - 1) * DAY, "Current": v == 12} for v in range(12, 0, -1)
    ]
    pages = [call(kms, "ListKeyRotations", KeyId=key, Offset=o, Limit=5)["Rotations"] for o in (0, 5, 10)]
    assert [r for page in pages for r in page] == answer["Rotations"]
    assert len(call(kms, "ListKeyRotations", KeyId=key)["Rotations"]) == 10


def test_a_key_that_was_never_rotated_and_one_without_material(kms: Client) -> None:
    answer = call(kms, "ListKeyRotations", KeyId=make(kms))
    assert (answer["TotalCount"], answer["Rotations"][0]["Current"]) == (1, True)
    answer = call(kms, "ListKeyRotations", KeyId=make(kms, "external", Type=2))
    assert (answer["TotalCount"], answer["Rotations"]) == (0, [])


def test_values_outside_the_limits_are_refused(kms: Client) -> None:
    key = make(kms)
    for limit in (0, 201):
        with refused("InvalidParameter"):
            call(kms, "ListKeyRotations", KeyId=key, Limit=limit)
