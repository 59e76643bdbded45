"""Identifiers: their forms, and that what they are made of is random or the given time."""

import re
import uuid
from collections.abc import Callable

import pytest

from chalicelib import ids

NOW_MS = 1_800_000_000_123


def test_request_ids_are_version_7() -> None:
    made = uuid.UUID(ids.request_id(NOW_MS))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert ids.request_time_ms(str(made)) == NOW_MS


def test_request_ids_sort_by_time() -> None:
    made = [ids.request_id(NOW_MS + at) for at in range(100)]
    assert made == sorted(made)


@pytest.mark.parametrize("now_ms", [0, 1, 2**48 - 1])
def test_request_ids_of_any_time(now_ms: int) -> None:
    assert ids.request_time_ms(ids.request_id(now_ms)) == now_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "550e8400-e29b-41d4-a716-446655440000",
        "01A3185C-507B-72F8-B61F-02D834D906B9",
        "01a3185c-507b-72f8-b61f-02d834d906b9 ",
        "{01a3185c-507b-72f8-b61f-02d834d906b9}",
        "01a3185c507b72f8b61f02d834d906b9",
        "urn:uuid:01a3185c-507b-72f8-b61f-02d834d906b9",
    ],
)
def test_other_texts_have_no_time(text: str) -> None:
    assert ids.request_time_ms(text) is None


def test_key_ids_look_like_the_products() -> None:
    """Version 1, time-based, with a node that is no MAC address: its multicast bit is set (RFC 9562, 6.10)."""
    made = uuid.UUID(ids.key_id(NOW_MS))
    assert (made.version, made.variant) == (1, uuid.RFC_4122)
    since_1582 = NOW_MS * 10_000 + 0x01B21DD213814000
    assert 0 <= made.time - since_1582 < 10_000
    assert made.node >> 40 & 1
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(made))


def test_access_keys() -> None:
    assert re.fullmatch(r"AKID[A-Za-z0-9]{32}", ids.secret_id())
    assert re.fullmatch(r"[A-Za-z0-9]{32}", ids.secret_key())


def test_uins_fit_every_client() -> None:
    """12 digits: exact in a double, where some clients read numbers."""
    for _ in range(200):
        assert re.fullmatch(r"1[0-9]{11}", ids.uin())


@pytest.mark.parametrize(
    "make",
    [ids.secret_id, ids.secret_key, ids.uin, lambda: ids.request_id(NOW_MS), lambda: ids.key_id(NOW_MS)],
    ids=["secret_id", "secret_key", "uin", "request_id", "key_id"],
)
def test_no_two_are_equal(make: Callable[[], str]) -> None:
    assert len({make() for _ in range(2000)}) == 2000


@pytest.mark.parametrize("make", [ids.secret_id, ids.secret_key])
def test_every_character_is_drawn(make: Callable[[], str]) -> None:
    """62 characters in each place: 200 draws of 32 leave none out but once in 10^43."""
    assert len(set("".join(make().removeprefix("AKID") for _ in range(200)))) == 62
