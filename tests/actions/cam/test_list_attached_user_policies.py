from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import NOBODY, at, make_holder, make_policy
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused


def test_every_member_in_the_order_of_attachment(
    clock: ManualClock, installation: Installation, cam: Client
) -> None:
    holder = make_holder(installation, cam, "User")
    policy, first = make_policy(cam, "p", Description="d"), at(clock)
    holder.attach(cam, policy)
    clock.advance(5)
    holder.attach(cam, 1)
    preset = cam.GetPolicy(PolicyId=1).Description
    answer = outputs(cam.ListAttachedUserPolicies(**holder.named("Target")))
    assert answer["TotalNum"] == 2
    expected = [
        {"PolicyId": policy, "PolicyName": "p", "AddTime": first, "PolicyType": "User", "Remark": "d"},
        {
            "PolicyId": 1,
            "PolicyName": "AdministratorAccess",
            "AddTime": at(clock),
            "PolicyType": "QCS",
            "Remark": preset,
        },
    ]
    for line, members in zip(answer["List"], expected, strict=True):
        assert {k: v for k, v in line.items() if v is not None} == {
            **members,
            "CreateMode": 2,
            "Deactived": 0,
            "DeactivedDetail": [],
        }


def test_pages(installation: Installation, cam: Client) -> None:
    holder = make_holder(installation, cam, "User")
    policies = [make_policy(cam, f"p{i}") for i in range(5)]
    for policy in policies:
        holder.attach(cam, policy)
    named = holder.named("Target")
    pages = [cam.ListAttachedUserPolicies(**named, Page=page, Rp=2) for page in (1, 2, 3, 4)]
    assert [[p.PolicyId for p in page.List] for page in pages] == [
        policies[:2],
        policies[2:4],
        policies[4:],
        [],
    ]
    assert {page.TotalNum for page in pages} == {5}
    for wrong in ({"Page": 0}, {"Rp": 0}, {"Rp": 201}):
        with refused("InvalidParameter.ParamError"):
            cam.ListAttachedUserPolicies(**named, **wrong)


def test_what_is_not_there(installation: Installation, cam: Client) -> None:
    holder = make_holder(installation, cam, "User")
    holder.attach(cam, 1)
    with refused("ResourceNotFound.UserNotExist"):
        cam.ListAttachedUserPolicies(TargetUin=NOBODY)
    with refused("ResourceNotFound.UserNotExist"):
        installation.client("cam", who=installation.add_account()).ListAttachedUserPolicies(
            **holder.named("Target")
        )
