"""Keys and secrets to tag, and their tags as the tag service shows them."""

from typing import Any

from tests.installation import SM, Client, Installation


def add_key(installation: Installation, alias: str = "key", region: str = SM, **tags: str) -> str:
    """A key's six-segment name."""
    kms = installation.client("kms", region)
    key_id = kms.CreateKey(Alias=alias, Tags=listed(tags)).KeyId
    root = installation.root.uin
    return f"qcs::kms:{region}:uin/{root}:key/creatorUin/{root}/{key_id}"


def add_secret(installation: Installation, name: str = "db", region: str = SM, **tags: str) -> str:
    """A secret's six-segment name."""
    installation.client("ssm", region).CreateSecret(
        SecretName=name, VersionId="v1", SecretString="x", Tags=listed(tags)
    )
    root = installation.root.uin
    return f"qcs::ssm:{region}:uin/{root}:secret/creatorUin/{root}/{name}"


def listed(tags: dict[str, str]) -> list[dict[str, str]]:
    """Tags as the API takes them."""
    return [{"TagKey": key, "TagValue": value} for key, value in tags.items()]


def tags_of(tag: Client, *resources: str) -> list[dict[str, str]]:
    """The tags of each resource."""
    return [
        {t.TagKey: t.TagValue for t in mapping.Tags}
        for resource in resources
        for mapping in tag.GetResources(ResourceList=[resource]).ResourceTagMappingList
    ]


def as_terraform(resource: str) -> str:
    """The name as Terraform spells it: without the account's number."""
    head, _, path = resource.rpartition(":")
    return f"{head.rpartition('/')[0]}/:{path}"


def by_id(resource: str, **more: Any) -> dict[str, Any]:
    """The parameters of DescribeResourceTagsByResourceIds."""
    _, _, service, region, _, path = resource.split(":")
    prefix, _, resource_id = path.partition("/")
    return {
        "ServiceType": service,
        "ResourcePrefix": prefix,
        "ResourceIds": [resource_id],
        "ResourceRegion": region,
        **more,
    }
