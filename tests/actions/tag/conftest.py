import pytest

from tests.installation import Client, Installation


@pytest.fixture
def tag(installation: Installation) -> Client:
    """The official tag client."""
    return installation.client("tag")
