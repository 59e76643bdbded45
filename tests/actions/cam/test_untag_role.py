from tests.actions.cam.arrange_policies import NO_ROLE, make_role
from tests.actions.cam.test_tag_role import tag, tags_of
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused


def test_only_those_keys_go(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam, "r", Tags=[tag("a"), tag("b"), tag("c")])
    assert outputs(cam.UntagRole(RoleId=role, TagKeys=["b", "unknown"])) == {}
    assert tags_of(cam, role) == {"a": "v", "c": "v"}
    cam.UntagRole(RoleName="r", TagKeys=["a", "c", "a"])
    assert tags_of(cam, role) == {}


def test_what_is_wrong_or_not_there(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam, Tags=[tag("a")])
    for wrong in ([], [""], ["x" * 128]):
        with refused("InvalidParameter.TagParamError"):
            cam.UntagRole(RoleId=role, TagKeys=wrong)
    with refused("InvalidParameter.ParamError"):
        cam.UntagRole(TagKeys=["a"])
    stranger = installation.client("cam", who=installation.add_account())
    for client, named in ((cam, NO_ROLE), (stranger, role)):
        with refused("InvalidParameter.RoleNotExist"):
            client.UntagRole(RoleId=named, TagKeys=["a"])
    assert tags_of(cam, role) == {"a": "v"}
