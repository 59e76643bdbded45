"""Fixtures: object storage and databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, MetaData, create_engine

from ..client.postgresql import running
from .storage import Storage


@pytest.fixture(scope="session")
def storage() -> Iterator[Storage]:
    server = Storage()
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a database of its own."""
    with running() as (server, password):
        yield f"postgresql+pg8000://admin:{password}@/postgres?unix_sock={server.socket}"


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database that is empty again afterwards."""
    if request.param == "sqlite":
        made = create_engine(f"sqlite:///{tmp_path / 'database'}")
    else:
        made = create_engine(request.getfixturevalue("postgresql"))
    yield made
    found = MetaData()
    found.reflect(made)
    found.drop_all(made)
    made.dispose()
