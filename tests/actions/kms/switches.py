"""What EnableKeys and DisableKeys have in common."""

from tests.actions.kms.arrange_keys import UNKNOWN, call, everything, make
from tests.actions.ssm.arrange import events, outputs
from tests.installation import Client, Installation, refused


def states(kms: Client, keys: list[str]) -> set[str]:
    """Of up to 100 keys."""
    return {m.KeyState for m in kms.DescribeKeys(KeyIds=keys).KeyMetadatas}


def check_100_at_once(installation: Installation, kms: Client, action: str, before: str, after: str) -> None:
    keys = [make(kms, f"k{i}") for i in range(101)]
    if before == "Disabled":
        for part in (keys[:100], keys[100:]):
            kms.DisableKeys(KeyIds=part)
    with refused("InvalidParameter"):
        call(kms, action, KeyIds=keys)
    assert states(kms, keys[:100]) == {before}
    # All of them change: there is no room in their write for the event, nor for when the access key was used.
    installation.service.uses.clear()
    answer = call(kms, action, KeyIds=keys[:100])
    assert outputs(answer) == {}
    assert (states(kms, keys[:100]), states(kms, keys[100:])) == ({after}, {before})
    (event,) = [e for e in events(installation) if e["id"] == answer.RequestId]
    assert event["resources"] == [f"key/{key}" for key in keys[:100]]
    assert "error" not in event
    # And again, when nothing changes.
    call(kms, action, KeyIds=keys[:100])
    assert states(kms, keys[:100]) == {after}


def check_100_that_conflict(installation: Installation, kms: Client, action: str) -> None:
    """A hundred, one of which cannot change: none does, and the event says so."""
    state = "Disabled" if action == "EnableKeys" else "Enabled"
    keys = [make(kms, f"k{i}", state) for i in range(99)]
    keys.append(make(kms, "archived", "Archived"))
    with refused("ResourceUnavailable.CmkStateNotSupport") as caught:
        call(kms, action, KeyIds=keys)
    assert states(kms, keys[:99]) == {state}
    (event,) = [e for e in events(installation) if e["id"] == caught.value.requestId]
    assert event["error"] == caught.value.code


def check_all_or_none(kms: Client, action: str, state: str) -> None:
    key = make(kms, "fine", state)
    stuck = {s: make(kms, s, s) for s in ("PendingDelete", "PendingImport", "Archived")}
    before = everything(kms)
    for other in stuck.values():
        with refused("ResourceUnavailable.CmkStateNotSupport"):
            call(kms, action, KeyIds=[key, other])
    with refused("ResourceUnavailable.CmkNotFound"):
        call(kms, action, KeyIds=[key, UNKNOWN])
    with refused("InvalidParameterValue.InvalidKeyId"):
        call(kms, action, KeyIds=[key, "x"])
    with refused("InvalidParameterValue.DuplicatedKeyId"):
        call(kms, action, KeyIds=[key, key])
    with refused("InvalidParameter"):
        call(kms, action, KeyIds=[])
    assert everything(kms) == before
