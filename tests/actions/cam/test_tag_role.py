import functools

from tests.actions.cam.arrange_policies import NO_ROLE, make_role, role_of
from tests.actions.ssm.arrange import outputs, together
from tests.installation import Client, Installation, refused


def tag(key: str, value: str = "v") -> dict[str, str]:
    return {"Key": key, "Value": value}


def tags_of(cam: Client, role: str) -> dict[str, str]:
    return {t.Key: t.Value for t in role_of(cam, role).Tags}


def test_tags_are_added_and_replaced(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam, "r", Tags=[tag("a"), tag("b")])
    assert outputs(cam.TagRole(RoleId=role, Tags=[tag("b", "new"), tag("c", "")])) == {}
    cam.TagRole(RoleName="r", Tags=[tag("\u989c\u8272", "\u84dd")])
    assert tags_of(cam, role) == {"a": "v", "b": "new", "c": "", "\u989c\u8272": "\u84dd"}


def test_fifty_tags(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam, Tags=[tag(str(i)) for i in range(49)])
    with refused("InvalidParameter.TagLimitExceeded"):
        cam.TagRole(RoleId=role, Tags=[tag("x"), tag("y")])
    cam.TagRole(RoleId=role, Tags=[tag("x"), tag("0")])
    assert len(tags_of(cam, role)) == 50


def test_what_is_wrong_or_not_there(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam)
    for wrong in ([tag("a"), tag("a")], [tag("")], [tag("x" * 128)], [tag("a", "x" * 256)]):
        with refused("InvalidParameter.TagParamError"):
            cam.TagRole(RoleId=role, Tags=wrong)
    with refused("InvalidParameter.ParamError"):
        cam.TagRole(Tags=[tag("a")])
    stranger = installation.client("cam", who=installation.add_account())
    for client, named in ((cam, NO_ROLE), (stranger, role)):
        with refused("InvalidParameter.RoleNotExist"):
            client.TagRole(RoleId=named, Tags=[tag("a")])
    assert tags_of(cam, role) == {}


def test_at_the_same_time_nothing_is_lost(installation: Installation, cam: Client) -> None:
    role = make_role(installation, cam)
    clients = [installation.client("cam") for _ in range(4)]
    ended = together(
        [functools.partial(c.TagRole, RoleId=role, Tags=[tag(str(i))]) for i, c in enumerate(clients)]
    )
    assert ended == ["ok"] * 4
    assert sorted(tags_of(cam, role)) == ["0", "1", "2", "3"]
