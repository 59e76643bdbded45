"""Fixtures: a whole Keystead on loopback, and the command line that speaks to it."""

from pathlib import Path

import pytest

from ..client.conftest import faulty, keystead
from ..client.servers import KeysteadServer
from .terminal import CommandLine

__all__ = ["faulty", "keystead", "line"]


@pytest.fixture
def line(keystead: KeysteadServer, tmp_path: Path) -> CommandLine:
    """`keystead` as the root account in ap-guangzhou, with a home of its own."""
    root = keystead.installation.root
    return CommandLine(keystead.endpoint, root.secret_id, root.secret_key, tmp_path)
