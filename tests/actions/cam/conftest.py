"""The client of access management."""

import pytest

from tests.installation import Client, Installation


@pytest.fixture
def cam(installation: Installation) -> Client:
    """The official CAM client of the root account."""
    return installation.client("cam")
