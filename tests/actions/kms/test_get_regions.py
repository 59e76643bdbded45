from tests.installation import Client, Installation


def test_every_region_of_the_installation(installation: Installation, kms: Client) -> None:
    assert kms.GetRegions().Regions == list(installation.settings.regions)
