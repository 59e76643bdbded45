"""Against whole Keysteads: what is bound to what, and the loss of a region."""

from collections.abc import Iterator

import pytest
from tests.installation import FIPS, SM

from keystead.encryption import ApiKms, CacheLimits, Client, KeysUnavailable, KmsFailure, MasterKey, Suite

from .fakes import STRONG
from .regions import Region, by_region


@pytest.fixture
def guangzhou() -> Iterator[Region]:
    region = Region(SM)
    yield region
    region.destroy()


@pytest.fixture
def singapore() -> Iterator[Region]:
    region = Region(FIPS)
    yield region
    region.destroy()


@pytest.mark.parametrize("suite", STRONG, ids=lambda suite: suite.name)
def test_a_region_is_lost(suite: Suite, singapore: Region) -> None:
    lost = Region(SM)
    primary, backup = MasterKey(SM, lost.create_key()), MasterKey(FIPS, singapore.create_key())
    context = {"document": "Vertrag 7 \N{LEFT RIGHT ARROW} 合同"}
    kms = ApiKms(by_region(lost, singapore))
    one = Client(kms, primary, [backup], suite=suite)
    before = one.encrypt(b"before", context)
    assert one.missing(before) == ()
    assert one.decrypt(before, context).plaintext == b"before"

    lost.destroy()
    assert one.decrypt(before, context).plaintext == b"before"
    after = one.encrypt(b"after", context)
    assert one.missing(after) == (primary,)
    assert one.decrypt(after, context).plaintext == b"after"
    with pytest.raises(KeysUnavailable):
        Client(kms, primary, [backup], suite=suite, minimum=2).encrypt(b"too few")

    # A new region takes the place: what was encrypted meanwhile, and before, gets its EDK.
    again = Region(SM)
    try:
        new = MasterKey(SM, again.create_key())
        two = Client(ApiKms(by_region(again, singapore)), new, [backup], suite=suite)
        healed = [two.heal(message) for message in (before, after)]
        assert [two.missing(message) for message in healed] == [(), ()]
        alone = Client(ApiKms(by_region(again)), new)
        assert [alone.decrypt(m, context).plaintext for m in healed] == [b"before", b"after"]
    finally:
        again.destroy()


def test_a_disabled_cmk_is_passed_by(guangzhou: Region, singapore: Region) -> None:
    primary, backup = MasterKey(SM, guangzhou.create_key()), MasterKey(FIPS, singapore.create_key())
    one = Client(ApiKms(by_region(guangzhou, singapore)), primary, [backup])
    message = one.encrypt(b"text")
    guangzhou.call("DisableKey", KeyId=primary.key_id)
    assert one.decrypt(message).plaintext == b"text"
    assert one.missing(one.encrypt(b"text")) == (primary,)
    singapore.call("DisableKey", KeyId=backup.key_id)
    with pytest.raises(KeysUnavailable) as caught:
        one.decrypt(message)
    assert {r.code.split(".")[0] for r in caught.value.refusals} == {"ResourceUnavailable"}
    guangzhou.call("EnableKey", KeyId=primary.key_id)
    assert one.decrypt(message).plaintext == b"text"


def test_the_cache_saves_calls(guangzhou: Region) -> None:
    key = MasterKey(SM, guangzhou.create_key())
    one = Client(ApiKms(guangzhou.api), key, cache=CacheLimits())
    messages = [one.encrypt(b"text", {"a": "b"}) for _ in range(3)]
    one.decrypt(messages[0])
    guangzhou.call("DisableKey", KeyId=key.key_id)
    assert [one.decrypt(message).plaintext for message in messages] == [b"text"] * 3
    one.forget()
    with pytest.raises(KeysUnavailable):
        one.decrypt(messages[0])


def test_a_ciphertext_of_another_cmk_is_refused(guangzhou: Region) -> None:
    """KMS would open it, for the caller may use both CMKs; the message says otherwise."""
    kms = ApiKms(guangzhou.api)
    first = str(guangzhou.call("CreateKey", Alias="first")["KeyId"])
    second = str(guangzhou.call("CreateKey", Alias="second")["KeyId"])
    plaintext, ciphertext = kms.generate_data_key(SM, first, {"a": "b"})
    assert len(plaintext) == 32
    assert kms.decrypt(SM, first, ciphertext, {"a": "b"}) == plaintext
    for key, context in ((second, {"a": "b"}), (first, {"a": "c"}), (first, {})):
        with pytest.raises(KmsFailure) as caught:
            kms.decrypt(SM, key, ciphertext, context)
        assert not caught.value.unreachable
        assert caught.value.__context__ is None
    wrapped = kms.encrypt(SM, second, plaintext, {})
    assert kms.decrypt(SM, second, wrapped, {}) == plaintext
