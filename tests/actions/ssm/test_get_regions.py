from tests.actions.ssm.arrange import outputs
from tests.installation import FIPS, Client, Installation


def test_the_regions_of_the_installation_are_listed(ssm: Client) -> None:
    assert outputs(ssm.GetRegions()) == {"Regions": ["ap-guangzhou", "ap-beijing", "ap-singapore"]}


def test_they_are_the_same_from_everywhere(installation: Installation, ssm: Client) -> None:
    elsewhere = installation.client("ssm", region=FIPS)
    assert elsewhere.GetRegions().Regions == ssm.GetRegions().Regions


def test_each_of_them_keeps_secrets(installation: Installation, ssm: Client) -> None:
    for region in ssm.GetRegions().Regions:
        client = installation.client("ssm", region=region)
        client.CreateSecret(SecretName="s", SecretString=region)
        assert client.GetSecretValue(SecretName="s", VersionId="SSM_Current").SecretString == region
