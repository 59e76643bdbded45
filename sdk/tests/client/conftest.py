"""Fixtures: the servers on loopback."""

from collections.abc import Iterator

import pytest

from .servers import FaultyServer, KeysteadServer


@pytest.fixture
def keystead() -> Iterator[KeysteadServer]:
    server = KeysteadServer()
    yield server
    server.close()


@pytest.fixture
def faulty() -> Iterator[FaultyServer]:
    server = FaultyServer()
    yield server
    server.close()
