"""Fixtures: a whole Keystead on loopback, and the command line that speaks to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..client.servers import FaultyServer, KeysteadServer
from .terminal import CommandLine


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


@pytest.fixture
def line(keystead: KeysteadServer, tmp_path: Path) -> CommandLine:
    """`keystead` as the root account in ap-guangzhou, with a home of its own."""
    root = keystead.installation.root
    return CommandLine(keystead.endpoint, root.secret_id, root.secret_key, tmp_path)
