"""Encrypted columns, on SQLite and PostgreSQL: values in their place alone, nothing in plain in the database, logs or errors."""

import asyncio
import logging
import secrets
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import (
    JSON,
    Column,
    Engine,
    Enum,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    cast,
    create_engine,
    event,
    insert,
    literal,
    null,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from keystead.credentials import CredentialError
from keystead.encryption import CacheLimits, Client, Damaged, KeysUnavailable, WrongContext
from keystead.integrations.sqlalchemy import (
    BlindIndex,
    BlindIndexKey,
    ColumnError,
    Encrypted,
    RowEncrypted,
    encrypt_existing,
    heal,
    reencrypt,
    render_item,
)

from ..encryption.fakes import BACKUP, OTHERS, PRIMARY, MemoryKms

KMS = MemoryKms()
CLIENT = Client(KMS, PRIMARY, cache=CacheLimits())
INDEX_KEY = BlindIndexKey(CLIENT, BlindIndexKey.create(CLIENT))
SECRET = "4000 1234 5678 9010"


def new_id() -> uuid.UUID:
    return uuid.UUID(bytes=secrets.token_bytes(16), version=4)


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    card: Mapped[str | None] = mapped_column(Encrypted(CLIENT, "customers.card"))
    notes: Mapped[str | None] = mapped_column(Encrypted(CLIENT, "customers.notes", Text()))
    picture: Mapped[bytes | None] = mapped_column(Encrypted(CLIENT, "customers.picture", LargeBinary))
    settings: Mapped[dict[str, Any] | None] = mapped_column(
        MutableDict.as_mutable(Encrypted(CLIENT, "customers.settings", JSON, {"app": "shop"}))
    )
    email_index: Mapped[Any] = mapped_column(
        BlindIndex(INDEX_KEY, "customers.email", str.casefold), nullable=True, unique=True
    )


class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    sealed: Mapped[bytes | None]
    number = RowEncrypted(CLIENT, "accounts.number", "sealed")


@pytest.fixture
def tables(engine: Engine) -> Engine:
    Base.metadata.create_all(engine)
    return engine


def raw(engine: Engine, column: str, table: str = "customers") -> list[bytes]:
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT {column} FROM {table} ORDER BY id")).scalars()  # noqa: S608 - ours
        return [bytes(each) for each in found]


def table_of(kind: Any) -> Table:
    return Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("value", kind))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (String, SECRET),
        (String(10), ""),
        (Text, "合同\0 " * 1000),
        (LargeBinary, bytes(range(256))),
        (LargeBinary, b""),
        (JSON, {"a": [1, None, "ü"]}),
        (JSON, [SECRET]),
        (JSON, 0),
    ],
    ids=str,
)
def test_values_and_null(engine: Engine, kind: Any, value: Any) -> None:
    table = table_of(Encrypted(CLIENT, "t.value", kind))
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"id": 1, "value": value}, {"id": 2, "value": None}])
        assert connection.execute(select(table.c.value).order_by(table.c.id)).scalars().all() == [value, None]
        connection.execute(update(table).where(table.c.value.is_(None)).values(value=value))
        assert connection.execute(select(table.c.value)).scalars().all() == [value, value]
    one, two = raw(engine, "value", "t")
    assert one != two
    assert CLIENT.decrypt(one).context == {"column": "t.value"}
    assert SECRET.encode() not in one


def test_the_orm(tables: Engine) -> None:
    with Session(tables) as session:
        session.add(
            Customer(id=1, card=SECRET, notes="n", picture=b"p", settings={"a": 1}, email_index="A@b.c")
        )
        session.add(Customer(id=2))
        session.commit()
        one = session.get_one(Customer, 1)
        assert (one.card, one.notes, one.picture, one.settings) == (SECRET, "n", b"p", {"a": 1})
        assert one.settings is not None
        one.settings["b"] = 2
        one.notes = None
        session.commit()
        session.expire_all()
        assert (one.settings, one.notes, session.get_one(Customer, 2).card) == ({"a": 1, "b": 2}, None, None)
        assert session.scalars(select(Customer.id).where(Customer.card == None)).all() == [2]  # noqa: E711
        assert session.scalars(select(Customer.id).where(Customer.card.is_not(null()))).all() == [1]


REFUSED: list[Callable[[Any], Any]] = [
    lambda c: c == SECRET,
    lambda c: c != SECRET,
    lambda c: SECRET == c,  # noqa: SIM300 - the other way round
    lambda c: c == Customer.notes,
    lambda c: c.in_([SECRET]),
    lambda c: c.not_in([SECRET]),
    lambda c: c.like("4%"),
    lambda c: c.startswith("4"),
    lambda c: c < SECRET,
    lambda c: c.between("a", "b"),
    lambda c: c + "x",
    lambda c: "x" + c,
    lambda c: c["key"],
    lambda c: c.desc(),
    lambda c: c.is_(True),
]


@pytest.mark.parametrize("compare", REFUSED)
def test_comparisons_are_refused(compare: Callable[[Any], Any]) -> None:
    for column in (Customer.card, Customer.settings, Customer.__table__.c.picture):
        with pytest.raises(InvalidRequestError, match="BlindIndex") as caught:
            compare(column)
        assert SECRET not in str(caught.value)


def test_the_same_column_is_equal_to_itself() -> None:
    """SQLAlchemy compares the keys of its own dictionaries, and it is true of ciphertexts."""
    for column in (Customer.card.expression, Customer.__table__.c.card):
        assert column == column  # noqa: PLR0124 - that is it
        assert "customers.card = customers.card" in str(column == Customer.__table__.c.card)


@pytest.mark.parametrize("compare", REFUSED[6:])
def test_an_index_answers_equality_alone(compare: Callable[[Any], Any]) -> None:
    with pytest.raises(InvalidRequestError):
        compare(Customer.email_index)


def test_a_value_opens_in_its_column_alone(tables: Engine) -> None:
    with tables.begin() as connection:
        connection.execute(insert(Customer), [{"id": 1, "card": SECRET, "notes": "n", "settings": {"a": 1}}])
        connection.execute(text("UPDATE customers SET card = notes"))
        with pytest.raises(ColumnError, match=r"customers\.card .*WrongContext") as caught:
            connection.execute(select(Customer.card)).all()
        assert isinstance(caught.value.__cause__, WrongContext)
        # Of the same column, but written without what the reader's context asks for.
        plain = {"settings": literal(CLIENT.encrypt(b"1", {"column": "customers.settings"}), LargeBinary)}
        connection.execute(update(Customer).values(plain))
        with pytest.raises(ColumnError, match="WrongContext"):
            connection.execute(select(Customer.settings)).all()
        connection.execute(update(Customer).values(settings=literal(b"junk", LargeBinary)))
        with pytest.raises(ColumnError) as caught:
            connection.execute(select(Customer.settings)).all()
        assert isinstance(caught.value.__cause__, Damaged)


def test_statements_in_the_cache_keep_their_columns(engine: Engine) -> None:
    """They have the same SQL and differ in the type of a parameter alone."""
    other = Client(MemoryKms(), PRIMARY)
    with engine.connect() as connection:
        for one, name, context in (
            (CLIENT, "a", {}),
            (CLIENT, "b", {}),
            (CLIENT, "b", {"app": "x"}),
            (other, "a", {}),
        ):
            value = literal("v", Encrypted(one, name, String, context))
            message: Any = connection.scalar(select(cast(value, LargeBinary)))
            assert one.decrypt(bytes(message)).context == {"column": name, **context}


class WithoutCredentials(MemoryKms):
    def generate_data_key(self, *_: Any) -> Any:
        raise CredentialError("The session has ended.")


def typo(value: str) -> str:
    return value.fold()  # type: ignore[attr-defined,no-any-return]


def test_nothing_in_plain_leaves_in_errors_or_logs(tables: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "sqlalchemy.engine")
    logged = create_engine(tables.url)  # it asks for the level once
    kms = MemoryKms()
    kms.down = {PRIMARY.region}
    down = table_of(Encrypted(Client(kms, PRIMARY), "t.value"))
    takes_json = table_of(Encrypted(CLIENT, "t.value", JSON))
    indexed = table_of(BlindIndex(BlindIndexKey(Client(kms, PRIMARY), b"x"), "t.value"))
    nobody = table_of(Encrypted(Client(WithoutCredentials(), PRIMARY), "t.value"))
    misspelt = table_of(BlindIndex(INDEX_KEY, "t.value", typo))
    texts = []
    for table, value, error in (
        (nobody, SECRET, ColumnError),
        (misspelt, SECRET, ColumnError),
        (down, SECRET, ColumnError),
        (indexed, SECRET, ColumnError),
        (takes_json, {SECRET}, ColumnError),
        (Customer.__table__, SECRET.encode(), ColumnError),
        (Customer.__table__, SECRET + "\ud800", ColumnError),
        (Customer.__table__, SECRET, IntegrityError),
    ):
        column = "card" if table is Customer.__table__ else "value"
        values = {"id": 1, column: value}
        if error is IntegrityError:
            values["email_index"] = SECRET
        with logged.connect() as connection, pytest.raises(error) as caught:  # noqa: PT012 - the second one is refused
            connection.execute(insert(table), [values])  # type: ignore[arg-type]
            connection.execute(insert(table), [values])  # type: ignore[arg-type]
        failure: BaseException | None = caught.value
        for _ in range(3):
            texts.append(f"{failure!r} {failure} {vars(failure) if failure else ''}")
            failure = failure and (failure.__cause__ or failure.__context__)
    logged.dispose()
    assert len(texts) == 24
    assert "INSERT INTO customers" in caplog.text
    assert "4000" not in "".join(texts) + caplog.text + repr(Customer.__table__)


def test_errors_of_kms_are_causes() -> None:
    kms = MemoryKms()
    kms.down = {PRIMARY.region}
    with pytest.raises(ColumnError, match="KeysUnavailable") as caught:
        Encrypted(Client(kms, PRIMARY), "t.value").process_bind_param("v", None)  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, KeysUnavailable)


def test_what_an_encrypted_column_can_be() -> None:
    for kind in (Integer, Enum("a", "b"), int):
        with pytest.raises(TypeError, match="String, LargeBinary or JSON"):
            Encrypted(CLIENT, "t.value", kind)  # type: ignore[arg-type]
    for name in ("column", "row"):
        with pytest.raises(ValueError, match="belong"):
            Encrypted(CLIENT, "t.value", context={name: "x"})
    assert repr(Encrypted(CLIENT, "t.value")) == "Encrypted('t.value')"


def test_a_blind_index_finds(tables: Engine) -> None:
    with Session(tables) as session:
        for number, email in enumerate(["Ann@x.org", "bob@x.org", None], 1):
            session.add(Customer(id=number, email_index=email))
        session.commit()

        def found(condition: Any) -> list[int]:
            return list(session.scalars(select(Customer.id).where(condition).order_by(Customer.id)))

        index = Customer.email_index
        assert found(index == "ann@X.org") == [1]
        assert found(index != "ann@x.org") == [2]
        assert found(index.in_(["ann@x.org", "BOB@x.org", "c"])) == [1, 2]
        assert found(index.not_in(["ann@x.org"])) == [2]
        assert found(index.is_(None)) == [3]
        assert found(index == "ann") == []
        session.add(Customer(id=4, email_index="ANN@x.org"))
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
        one = session.get_one(Customer, 1)
        assert one.email_index == INDEX_KEY.digest("customers.email", "ann@x.org")
        session.add(Customer(id=5, email_index=one.email_index))
        with pytest.raises(ColumnError, match="blind index"):
            session.commit()


def test_keys_of_blind_indexes() -> None:
    kms = MemoryKms()
    one = Client(kms, PRIMARY)
    message = BlindIndexKey.create(one)
    key = BlindIndexKey(one, message)
    digests = {key.digest(name, value) for name in ("a", "b") for value in ("x", "y")}
    assert {len(digest) for digest in digests} == {32}
    assert len(digests) == 4
    assert kms.calls["decrypt", PRIMARY.region] == 2
    assert BlindIndexKey(one, message).digest("a", "x") == key.digest("a", "x")
    assert BlindIndexKey(one, BlindIndexKey.create(one)).digest("a", "x") not in digests
    with pytest.raises(WrongContext):
        BlindIndexKey(one, one.encrypt(bytes(32))).digest("a", "x")


def test_a_name_that_waits_for_kms_holds_up_no_other() -> None:
    kms = MemoryKms()
    one = Client(kms, PRIMARY)
    key = BlindIndexKey(one, BlindIndexKey.create(one))
    known = key.digest("a", "x")
    kms.silent = {PRIMARY.region}
    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(key.digest, "b", "x")
        try:
            while kms.calls["decrypt", PRIMARY.region] < 2:
                time.sleep(0.01)
            assert threads.submit(key.digest, "a", "x").result(5) == known
        finally:
            kms.wake.set()
        assert isinstance(waiting.exception(5), KeysUnavailable)


def test_a_number_in_place_of_a_message_is_not_its_length() -> None:
    """SQLite keeps one in a column of bytes, and bytes(2**50) would be as many zeros."""
    engine = create_engine("sqlite://")
    table = Table("t", MetaData(), Column("card", Encrypted(Client(KMS, PRIMARY), "t.card")))
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(text("INSERT INTO t VALUES (1125899906842624)"))
        with pytest.raises(ColumnError, match="TypeError"):
            connection.execute(select(table.c.card)).all()


def test_the_hash_of_a_blind_index() -> None:
    """By Python's own HMAC, from RFC 5869 and RFC 2104."""
    import hmac

    one = Client(KMS, PRIMARY)
    secret = bytes(range(32))
    message = one.encrypt(secret, {"purpose": "blind index"})
    own = hmac.digest(secret, b"keystead blind index 1 customers.email\x01", "sha256")
    expected = hmac.digest(own, "ü".encode(), "sha256")
    assert BlindIndexKey(one, message).digest("customers.email", "ü") == expected


def test_a_value_that_is_bound_to_its_row(tables: Engine) -> None:
    one, two = new_id(), new_id()
    with Session(tables) as session:
        session.add_all([Account(id=one, number=SECRET), Account(id=two, number=None)])
        session.commit()
        assert session.get_one(Account, one).number == SECRET
        assert session.get_one(Account, two).number is None
        (message,) = filter(None, session.scalars(select(Account.sealed)))
        assert CLIENT.decrypt(message).context == {"column": "accounts.number", "row": str(one)}
        session.execute(update(Account).values(sealed=message))
        session.expire_all()
        assert session.get_one(Account, one).number == SECRET
        with pytest.raises(ColumnError, match="WrongContext"):
            _ = session.get_one(Account, two).number
        session.get_one(Account, two).number = "new"
        session.commit()
        assert session.get_one(Account, two).number == "new"
    with pytest.raises(ColumnError, match="key"):
        Account(number=SECRET)
    assert isinstance(Account.number, RowEncrypted)


def test_heal_and_reencrypt(engine: Engine) -> None:
    kms = MemoryKms()
    kms.down = {BACKUP.region}
    both = Client(kms, PRIMARY, [BACKUP])
    table = table_of(Encrypted(both, "t.value"))
    table.create(engine)
    expected = [None, *(f"value {n}" for n in range(7))]
    with engine.begin() as connection:
        connection.execute(insert(table), [{"id": n, "value": v} for n, v in enumerate(expected)])
    assert heal(engine, both, table.c.value, batch=2) == 0
    kms.down = set()
    assert heal(engine, both, table.c.value, batch=2) == 7
    assert heal(engine, both, table.c.value, batch=3) == 0

    def values() -> list[str | None]:
        with engine.connect() as connection:
            return list(connection.execute(select(table.c.value).order_by(table.c.id)).scalars())

    kms.down = {PRIMARY.region}
    assert values() == expected
    kms.down = set()
    # Another CMK takes over: it encrypts, and the old ones can still be asked.
    new = Client(kms, OTHERS[0], [PRIMARY])
    assert reencrypt(engine, new, table.c.value, batch=3) == 7
    kms.down = {PRIMARY.region, BACKUP.region}
    alone = Client(kms, OTHERS[0])
    messages = raw_messages(engine, table)
    assert [alone.decrypt(m, {"column": "t.value"}).plaintext.decode() for m in messages] == expected[1:]


def raw_messages(engine: Engine, table: Table) -> list[bytes]:
    with engine.connect() as connection:
        found = connection.execute(
            select(type_coerce(table.c.value, LargeBinary)).order_by(table.c.id)
        ).scalars()
        return [bytes(each) for each in found if each]


def test_what_is_written_meanwhile_stays(engine: Engine) -> None:
    """A value changes between the reading and the writing of the job, and another one becomes NULL."""
    table = table_of(Encrypted(CLIENT, "t.value"))
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"id": n, "value": f"old {n}"} for n in range(4)])

    class Slow(Client):
        begun: bool = False

        def decrypt(self, *call: Any) -> Any:
            if not self.begun:
                self.begun = True
                with engine.begin() as connection:
                    connection.execute(update(table).where(table.c.id == 1).values(value="newer"))
                    connection.execute(update(table).where(table.c.id == 2).values(value=None))
            return super().decrypt(*call)

    assert reencrypt(engine, Slow(KMS, PRIMARY), table.c.value) == 2
    with engine.connect() as connection:
        found = connection.execute(select(table.c.value).order_by(table.c.id)).scalars().all()
    assert found == ["old 0", "newer", None, "old 3"]


def people() -> Table:
    """Two keys, and a column in plain that is to be encrypted."""
    return Table(
        "people",
        MetaData(),
        Column("country", String(2), primary_key=True),
        Column("number", Integer, primary_key=True),
        Column("email", String(100)),
        Column("email_sealed", Encrypted(CLIENT, "people.email")),
        Column("email_index", BlindIndex(INDEX_KEY, "people.email")),
    )


def test_existing_values_are_encrypted(engine: Engine) -> None:
    """The job is killed in its second batch, and runs again."""
    table = people()
    table.create(engine)
    rows: list[dict[str, Any]] = [
        {"country": c, "number": n, "email": f"{c}{n}@x.org"} for c in ("cn", "de", "fr") for n in range(3)
    ]
    rows[4]["email"] = None
    with engine.begin() as connection:
        connection.execute(insert(table), rows)
    batches = []

    @event.listens_for(engine, "commit")
    def killed(_: Any) -> None:
        batches.append(1)
        if len(batches) == 2:
            raise KeyboardInterrupt

    targets = table.c.email_sealed, table.c.email_index
    with pytest.raises(KeyboardInterrupt):
        encrypt_existing(engine, table.c.email, *targets, batch=2)
    assert encrypt_existing(engine, table.c.email, *targets, batch=2) in (4, 6)
    assert encrypt_existing(engine, table.c.email, *targets) == 0
    with engine.connect() as connection:
        found = connection.execute(
            select(table.c.email, table.c.email_sealed).order_by(*table.primary_key)
        ).all()
        assert [tuple(row) for row in found] == [(row["email"],) * 2 for row in rows]
        query = select(table.c.number).where(table.c.email_index == "fr1@x.org")
        assert connection.execute(query).scalars().all() == [1]


def test_what_the_program_writes_meanwhile_is_not_written_over(engine: Engine) -> None:
    """The program writes both columns, of two rows, between the reading and the writing of the job."""
    table = people()
    table.create(engine)
    rows = [{"country": "cn", "number": n, "email": f"{n}@x.org"} for n in range(3)]
    with engine.begin() as connection:
        connection.execute(insert(table), rows)
    begun = []

    @event.listens_for(engine, "begin")
    def meanwhile(_: Any) -> None:
        begun.append(1)
        if len(begun) == 2:
            with engine.begin() as other:
                newer = {"email": "new@x.org", "email_sealed": "new@x.org"}
                other.execute(update(table).where(table.c.number == 1).values(newer))
                other.execute(update(table).where(table.c.number == 2).values(email=None))

    assert encrypt_existing(engine, table.c.email, table.c.email_sealed) == 1
    with engine.connect() as connection:
        found = connection.execute(select(table.c.email_sealed).order_by(table.c.number)).scalars().all()
    assert found == ["0@x.org", "new@x.org", None]


def test_only_columns_of_tables_with_keys_are_rewritten(engine: Engine) -> None:
    keyless = Table("k", MetaData(), Column("value", LargeBinary))
    for column in (keyless.c.value, select(table_of(LargeBinary)).subquery().c.value):
        with pytest.raises(ValueError, match="primary key"):
            heal(engine, CLIENT, column)  # type: ignore[arg-type]


def test_alembic(engine: Engine) -> None:
    """A revision is made without the client, and after it nothing differs."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"render_item": render_item, "compare_type": True, "target_metadata": Base.metadata},
        )
        made = produce_migrations(context, Base.metadata)
        assert made.upgrade_ops is not None
        code = render_python_code(made.upgrade_ops, render_item=render_item)
    assert "sa.Column('card', sa.LargeBinary(), nullable=True)" in code
    assert "sa.Column('email_index', sa.LargeBinary(length=32), nullable=True)" in code
    assert "keystead" not in code
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        changes = produce_migrations(context, Base.metadata).upgrade_ops
        assert changes is not None
        assert changes.is_empty()


def test_asyncio(tmp_path: Path) -> None:
    async def work() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'database'}")
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

        async def write(number: int) -> None:
            async with AsyncSession(engine) as session:
                session.add(Customer(id=number, card=f"card {number}", email_index=str(number)))
                await session.commit()

        await asyncio.gather(*(write(number) for number in range(10)))
        async with AsyncSession(engine) as session:
            found = await session.scalars(select(Customer).where(Customer.email_index == "7"))
            assert [one.card for one in found] == ["card 7"]
            assert len((await session.scalars(select(Customer.card))).all()) == 10
        await engine.dispose()

    asyncio.run(work())
