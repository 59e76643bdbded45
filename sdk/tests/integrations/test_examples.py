"""The examples of docs/integrations.md, in their order, against a Keystead, moto's server and SQLite."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import String, create_engine, insert, select
from sqlalchemy.orm import Mapped, Session, mapped_column
from tests.installation import SM

from keystead.integrations.sqlalchemy import BlindIndex, Encrypted

from ..encryption.regions import Region
from .storage import Storage

PAGE = Path(__file__).resolve().parents[3] / "docs" / "integrations.md"


@pytest.fixture
def region(tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Region]:
    """A Keystead; its access key, the storage's and the reader's directory are where programs look for them."""
    made = Region(SM)
    root = made.installation.root
    for name, value in {
        "TENCENTCLOUD_SECRET_ID": root.secret_id,
        "TENCENTCLOUD_SECRET_KEY": root.secret_key,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{storage.port}",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TENCENTCLOUD_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    yield made
    made.destroy()


def test_the_examples(region: Region, storage: Storage, tmp_path: Path) -> None:
    names: dict[str, Any] = {"engine": create_engine(f"sqlite:///{tmp_path / 'database'}")}
    key_id, endpoint = region.create_key(), f"http://127.0.0.1:{region._server.server_port}"
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)

    def run() -> None:
        code = blocks.pop(0).replace("https://kms.example.com", endpoint).replace("<KeyId>", key_id)
        exec(compile(code, PAGE.name, "exec"), names)  # noqa: S102 - the page is ours

    run()
    run()  # files
    assert names["rows"] == [["name", "salary"]]

    storage.client().create_bucket(Bucket="archive")
    (tmp_path / "backup.tar").write_bytes(bytes(5000))
    run()  # object storage
    assert (tmp_path / "again.tar").read_bytes() == bytes(5000)
    assert names["end"] == bytes(1024)
    found = names["objects"].get_object(Bucket="archive", Key="2026/first.json")
    assert (found["Body"].read(), found["ContentType"]) == (b'{"a": 1}', "application/json")

    run()  # databases
    customer, engine = names["Customer"], names["engine"]
    names["Base"].metadata.create_all(engine)
    with Session(engine) as session:
        session.add(
            customer(
                id=uuid.UUID(int=1), card="4000 1234", settings={"a": 1}, email="ann@example.org", iban="DE00"
            )
        )
        session.commit()
    run()  # finding
    with Session(engine) as session:
        one = session.scalars(names["query"]).one()
        assert (one.card, one.settings, one.email, one.iban) == (
            "4000 1234",
            {"a": 1},
            "ann@example.org",
            "DE00",
        )

    run()  # Alembic
    assert names["options"]["render_item"]("type", customer.__table__.c.card.type, None) == "sa.LargeBinary()"

    base: Any = names["Base"]

    class Person(base):  # type: ignore[misc] # the page's
        __tablename__ = "people"
        id: Mapped[int] = mapped_column(primary_key=True)
        phone: Mapped[str] = mapped_column(String(20))
        phone_encrypted: Mapped[str | None] = mapped_column(Encrypted(names["client"], "people.phone"))
        phone_index: Mapped[str | None] = mapped_column(BlindIndex(names["index_key"], "people.phone"))

    base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Person), [{"id": 1, "phone": "+86 10"}])
    names["Person"] = Person
    run()  # from plaintext to encrypted
    with Session(engine) as session:
        encrypted = session.scalars(select(Person.phone_encrypted).where(Person.phone_index == "+86 10"))
        assert encrypted.all() == ["+86 10"]

    run()  # keys change
    with Session(engine) as session:
        assert session.scalars(names["query"]).one().iban == "DE00"
    assert blocks == []
    engine.dispose()
    names["api"].close()
