from chalicelib.clock import ManualClock
from tests.actions.kms.arrange_keys import (
    DAY,
    Counted,
    bring_to,
    decrypt,
    describe,
    encrypt,
    last_used,
    make,
)
from tests.installation import Client, Installation, refused

HOUR = 3600
# What Terraform's provider dereferences without a check.
DEREFERENCED = ("Alias", "Description", "KeyState", "KeyUsage", "KeyRotationEnabled", "ResourceId", "ValidTo")


def test_a_key_pending_deletion_is_still_described(installation: Installation, kms: Client) -> None:
    key = make(kms, state="PendingDelete")
    shown = describe(kms, key)
    assert (shown.KeyState, shown.DeletionDate) == ("PendingDelete", installation.clock.now() + 7 * DAY)
    assert [name for name in DEREFERENCED if getattr(shown, name) is None] == []


def test_the_next_rotation_is_shown_even_while_it_is_off(installation: Installation, kms: Client) -> None:
    key, created = make(kms), installation.clock.now()
    assert describe(kms, key).NextRotateTime == created + 365 * DAY
    kms.EnableKeyRotation(KeyId=key, RotateDays=7)
    assert describe(kms, key).NextRotateTime == created + 7 * DAY
    installation.clock.advance(100)
    kms.RotateKey(KeyId=key)
    kms.DisableKeyRotation(KeyId=key)
    shown = describe(kms, key)
    assert (shown.NextRotateTime, shown.LastRotateTime) == (created + 100 + 7 * DAY, created + 100)


def test_the_time_of_the_last_use_is_an_extension(installation: Installation, kms: Client) -> None:
    key = make(kms)
    assert last_used(kms, key) == 0
    blob = encrypt(kms, key)
    first = installation.clock.now()
    assert last_used(kms, key) == first
    installation.clock.advance(HOUR)
    decrypt(kms, blob)
    assert last_used(kms, key) == first + HOUR
    installation.clock.advance(HOUR)
    kms.GenerateDataKey(KeyId=key, KeySpec="AES_256")
    assert last_used(kms, key) == first + 2 * HOUR
    installation.clock.advance(HOUR)
    other = make(kms, "other")
    kms.ReEncrypt(CiphertextBlob=blob, DestinationKeyId=other)
    assert last_used(kms, key) == last_used(kms, other) == first + 3 * HOUR
    # What fails, and what only looks or changes the key, is no use.
    installation.clock.advance(HOUR)
    for state in ("Disabled", "PendingDelete"):
        bring_to(kms, make(kms, state), state)
    kms.DisableKey(KeyId=other)
    assert last_used(kms, other) == first + 3 * HOUR


def test_uses_within_an_hour_are_one_write(clock: ManualClock) -> None:
    installation = Counted(clock)
    kms = installation.client("kms")
    key = make(kms)
    table, place = installation.counted, f"K#{installation.root.uin}#ap-guangzhou#{key}"
    clock.advance(HOUR - clock.now() % HOUR)
    blob = encrypt(kms, key)
    for _ in range(20):
        encrypt(kms, key)
        decrypt(kms, blob)
    row = table.get(place, "U")
    assert row is not None
    assert row.version == 1
    clock.advance(HOUR)
    decrypt(kms, blob)
    row = table.get(place, "U")
    assert row is not None
    assert row.version == 2


def test_the_note_of_a_use_costs_no_write_of_its_own(clock: ManualClock) -> None:
    installation = Counted(clock)
    kms = installation.client("kms")
    key = make(kms)
    installation.counted.writes = 0
    blob = encrypt(kms, key)  # notes the use
    assert installation.counted.writes == 1
    decrypt(kms, blob)  # does not
    assert installation.counted.writes == 2


def test_an_encryption_that_is_refused_is_no_use_and_hides_none(kms: Client) -> None:
    from tests.actions.ssm.arrange import code

    key = make(kms)
    assert code(lambda: encrypt(kms, key, context="no JSON")) == "InvalidParameter"
    assert last_used(kms, key) == 0
    encrypt(kms, key)
    assert last_used(kms, key) > 0


def test_a_rehearsed_use_does_not_hide_the_next_one(kms: Client) -> None:
    key = make(kms)
    with refused("DryRunOperation"):
        kms.call_raw("Encrypt", {"KeyId": key, "Plaintext": "aGk=", "DryRun": True})
    assert last_used(kms, key) == 0
    encrypt(kms, key)
    assert last_used(kms, key) > 0
