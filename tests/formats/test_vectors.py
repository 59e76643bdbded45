"""The golden vectors: bytes that this release makes, opens and refuses. See tests/vectors/README.md."""

from typing import Any

import pytest

from chalicelib.formats.canonical import MalformedContext
from chalicelib.hsm.port import Damaged
from tests.vectors import make

GENERATED, OPENED, REFUSED = (make.read(f"formats_{name}") for name in ("generated", "opened", "refused"))
Vector = dict[str, Any]


def name(vector: Vector) -> str:
    return str(vector["name"])


@pytest.mark.parametrize("vector", GENERATED, ids=name)
def test_generated(vector: Vector) -> None:
    """The same randomness gives the same bytes, and they open."""
    made = make.MAKE[vector["format"]](
        vector["given"], vector.get("plaintext", ""), make.stream(vector["name"])
    )
    assert made == vector["sealed"]
    if "plaintext" in vector:
        assert make.OPEN[vector["format"]](vector["given"], vector["sealed"]) == vector["plaintext"]


@pytest.mark.parametrize("vector", OPENED, ids=name)
def test_opened(vector: Vector) -> None:
    """What the second implementation made opens."""
    assert make.OPEN[vector["format"]](vector["given"], vector["sealed"]) == vector["plaintext"]


@pytest.mark.parametrize("vector", REFUSED, ids=name)
def test_refused(vector: Vector) -> None:
    """One outcome for every damage; malformed contexts are told apart from it."""
    refusal = MalformedContext if vector["format"] == "encryption_context" else Damaged
    with pytest.raises(refusal):
        make.OPEN[vector["format"]](vector["given"], vector["sealed"])


def test_making_the_vectors_again_changes_nothing() -> None:
    for list_name, vectors in make.build().items():
        assert (make.FOLDER / f"{list_name}.json").read_text("utf-8") == make.write(vectors)


def test_a_vector_is_never_changed_or_lost() -> None:
    old: list[Vector] = [{"name": "a", "sealed": "00"}, {"name": "b", "sealed": "01"}]
    assert make.merged(old, [{"name": "c", "sealed": "02"}]) == [*old, {"name": "c", "sealed": "02"}]
    with pytest.raises(ValueError, match="would change"):
        make.merged(old, [{"name": "a", "sealed": "ff"}])


def test_every_format_has_vectors_in_every_list() -> None:
    formats = {"message", "key_token", "ciphertext_blob", "sealed_value", "key_file", "post_quantum"}
    for vectors in (GENERATED, OPENED, REFUSED):
        assert formats <= {vector["format"] for vector in vectors}
        assert len({vector["name"] for vector in vectors}) == len(vectors)
