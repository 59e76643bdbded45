"""Merkle trees against RFC 6962's definition written down naively, and against known values (KS-FMT-30)."""

import hashlib

import pytest
from gmssl import func, sm3
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.formats.merkle import Hash, Standard, Tree


def naive(leaves: list[bytes], hash_: Hash) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not leaves:
        return hash_(b"")
    if len(leaves) == 1:
        return hash_(b"\x00" + leaves[0])
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hash_(b"\x01" + naive(leaves[:k], hash_) + naive(leaves[k:], hash_))


def grown(leaves: list[bytes], hash_: Hash) -> Tree:
    tree = Tree(hash_)
    for leaf in leaves:
        tree.add(leaf)
    return tree


def gmssl_sm3(data: bytes) -> bytes:
    return bytes.fromhex(sm3.sm3_hash(func.bytes_to_list(data)))


HASHES: dict[Standard, Hash] = {
    Standard.FIPS: lambda data: hashlib.sha256(data).digest(),
    Standard.SM: gmssl_sm3,
}


@pytest.mark.parametrize("standard", Standard)
@given(leaves=st.lists(st.binary(max_size=40), max_size=70))
def test_a_growing_tree_has_the_root_of_the_definition(standard: Standard, leaves: list[bytes]) -> None:
    """KS-FMT-30.1: SHA-256 in `fips` domains, SM3 in `sm` domains."""
    tree = grown(leaves, standard.hash)
    assert tree.size == len(leaves)
    assert tree.root() == naive(leaves, standard.hash)


@pytest.mark.parametrize("standard", Standard)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33])
def test_the_hashes_are_those_of_other_implementations(standard: Standard, size: int) -> None:
    leaves = [bytes([n]) * n for n in range(size)]
    assert grown(leaves, standard.hash).root() == naive(leaves, HASHES[standard])


def test_the_roots_of_the_reference_implementation() -> None:
    """Certificate transparency's test vectors (google/certificate-transparency, merkle_tree_test)."""
    leaves = [
        bytes.fromhex(leaf)
        for leaf in (
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        )
    ]
    roots = {
        0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    for size, root in roots.items():
        assert grown(leaves[:size], Standard.FIPS.hash).root().hex() == root


@given(
    leaves=st.lists(st.binary(max_size=8), min_size=1, max_size=40),
    data=st.data(),
)
def test_any_change_changes_the_root(leaves: list[bytes], data: st.DataObject) -> None:
    """KS-FMT-30.2."""
    root = grown(leaves, Standard.FIPS.hash).root()
    at = data.draw(st.integers(0, len(leaves) - 1))
    changed = [*leaves]
    match data.draw(st.sampled_from(["change", "remove", "insert", "swap"])):
        case "change":
            changed[at] += b"!"
        case "remove":
            del changed[at]
        case "insert":
            changed.insert(at, data.draw(st.binary(max_size=8)))
        case _:
            other = data.draw(st.integers(0, len(leaves) - 1))
            changed[at], changed[other] = changed[other], changed[at]
    if changed != leaves:
        assert grown(changed, Standard.FIPS.hash).root() != root


def test_a_tree_remembers_one_hash_for_each_bit_of_its_size() -> None:
    tree = grown([b"x"] * 1000, Standard.FIPS.hash)
    assert len(tree._whole) == (1000).bit_count()
