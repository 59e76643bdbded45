from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import (
    KINDS,
    NOBODY,
    at,
    entities,
    make_holder,
    make_policy,
    make_role,
)
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused


def test_every_member_of_every_kind(clock: ManualClock, installation: Installation, cam: Client) -> None:
    policy = make_policy(cam)
    holders = {kind: make_holder(installation, cam, kind) for kind in KINDS}
    for holder in holders.values():
        holder.attach(cam, policy)
    for number, (kind, holder) in enumerate(holders.items(), 1):
        assert outputs(cam.ListEntitiesForPolicy(PolicyId=policy, EntityFilter=kind)) == {
            "TotalNum": 1,
            "List": [
                {
                    "Id": str(holder.id),
                    "Name": {"User": "u", "Group": "g", "Role": "r"}[kind],
                    "Uin": holder.id if kind == "User" else 0,
                    "RelatedType": number,
                    "AttachmentTime": at(clock),
                }
            ],
        }
    assert len(entities(cam, policy)) == len(entities(cam, policy, EntityFilter="All")) == 3


def test_pages(installation: Installation, cam: Client) -> None:
    roles = [make_role(installation, cam, f"r{i}") for i in range(5)]
    for role in roles:
        cam.AttachRolePolicy(PolicyId=1, AttachRoleId=role)
    pages = [cam.ListEntitiesForPolicy(PolicyId=1, Page=page, Rp=2) for page in (1, 2, 3, 4)]
    assert [len(page.List) for page in pages] == [2, 2, 1, 0]
    assert sorted(e.Id for page in pages for e in page.List) == sorted(roles)
    assert sorted(e.Name for page in pages for e in page.List) == [f"r{i}" for i in range(5)]
    assert {page.TotalNum for page in pages} == {5}


def test_what_is_wrong_or_not_there(installation: Installation, cam: Client) -> None:
    policy = make_policy(cam)
    with refused("InvalidParameter.EntityFilterError"):
        cam.ListEntitiesForPolicy(PolicyId=policy, EntityFilter="Robot")
    for wrong in ({"Page": 0}, {"Rp": 0}, {"Rp": 201}):
        with refused("InvalidParameter.ParamError"):
            cam.ListEntitiesForPolicy(PolicyId=policy, **wrong)
    stranger = installation.client("cam", who=installation.add_account())
    for client, wanted in ((cam, NOBODY), (stranger, policy)):
        with refused("ResourceNotFound.PolicyIdNotFound"):
            client.ListEntitiesForPolicy(PolicyId=wanted)


def test_each_account_sees_its_own_uses_of_a_preset_policy(installation: Installation, cam: Client) -> None:
    make_holder(installation, cam, "User").attach(cam, 2)
    assert entities(installation.client("cam", who=installation.add_account()), 2) == []
