"""KS-FMT-8: the software HSM's key file, as bytes. As a file it is in tests/hsm/test_software.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.formats import domain_keys
from chalicelib.formats.domain_keys import Header, SealedBy
from chalicelib.hsm.port import Damaged
from tests.formats.damage import damaged_copies

HEADER = Header(SealedBy.RANDOM_KEY, bytes(range(16)))
SEAL_KEY = HEADER.seal_key(b"secret")
KEYS = {1: bytes(32), 2: bytes(range(32))}
FILE = domain_keys.seal("identity", HEADER, SEAL_KEY, KEYS)


@given(
    st.text("abc-", min_size=1),
    st.sampled_from(SealedBy),
    st.dictionaries(st.integers(0, 2**32 - 1), st.binary(min_size=32, max_size=32), min_size=1, max_size=5),
)
def test_what_is_sealed_opens(domain: str, sealed_by: SealedBy, keys: dict[int, bytes]) -> None:
    header = Header(sealed_by, bytes(16))
    file = domain_keys.seal(domain, header, SEAL_KEY, keys)
    assert Header.read(file) == header
    assert domain_keys.open_sealed(domain, SEAL_KEY, file) == keys


def test_every_changed_byte_is_damaged() -> None:
    """KS-FMT-8.1: the list of generations is one sealed whole, so none can be dropped or exchanged."""
    for copy in damaged_copies(FILE):
        with pytest.raises(Damaged):
            domain_keys.open_sealed("identity", SEAL_KEY, copy)


def test_the_file_of_another_domain_is_damaged() -> None:
    """KS-FMT-8.1."""
    for domain in ("ap-guangzhou", "Identity", ""):
        with pytest.raises(Damaged):
            domain_keys.open_sealed(domain, SEAL_KEY, FILE)


@pytest.mark.parametrize("sealed_by", SealedBy)
def test_secret_salt_and_source_make_the_seal_key(sealed_by: SealedBy) -> None:
    """KS-FMT-8.2."""
    header = Header(sealed_by, bytes(16))
    keys = {
        header.seal_key(b"secret"),
        header.seal_key(b"Secret"),
        Header(sealed_by, b"\x01" * 16).seal_key(b"secret"),
        *(Header(other, bytes(16)).seal_key(b"secret") for other in SealedBy),
    }
    assert len(keys) == 4
    assert header.seal_key(b"secret") in keys


def test_sealing_again_takes_a_fresh_iv() -> None:
    """KS-FMT-8.4: the seal key stays the same for the life of the file."""
    again = domain_keys.seal("identity", HEADER, SEAL_KEY, KEYS)
    assert again[18:30] != FILE[18:30]
    assert again[:18] == FILE[:18]
