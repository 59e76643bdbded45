from chalicelib.clock import ManualClock
from tests.actions.cam.arrange_policies import at, listed, make_policy, make_role
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused


def names(cam: Client, **more: object) -> list[str]:
    return [p.PolicyName for p in cam.ListPolicies(**{"Rp": 200, **more}).List]


def test_every_member_of_a_line(clock: ManualClock, installation: Installation, cam: Client) -> None:
    policy = make_policy(cam, "p", Description="d", Tags=[{"Key": "k", "Value": "v"}])
    role = make_role(installation, cam)
    cam.AttachRolePolicy(PolicyId=policy, AttachRoleId=role)
    cam.PutRolePermissionsBoundary(PolicyId=policy, RoleId=role)
    answer = outputs(cam.ListPolicies(Scope="Local"))
    assert answer == {
        "TotalNum": 1,
        "ServiceTypeList": [],
        "List": [
            {
                "PolicyId": policy,
                "PolicyName": "p",
                "AddTime": at(clock),
                "UpdateTime": at(clock),
                "Type": 1,
                "Description": "d",
                "CreateMode": 2,
                "Attachments": 1,
                "AttachEntityCount": 1,
                "AttachEntityBoundaryCount": 1,
                "ServiceType": "",
                "IsAttached": None,
                "Deactived": 0,
                "DeactivedDetail": [],
                "IsServiceLinkedPolicy": 0,
                "Tags": [{"Key": "k", "Value": "v"}],
                "PermissionLevel": None,
            }
        ],
    }


def test_scopes_and_keywords(clock: ManualClock, cam: Client) -> None:
    for name in ("old", "new"):
        make_policy(cam, name)
        clock.advance(1)
    own, preset = names(cam, Scope="Local"), names(cam, Scope="QCS")
    assert own == ["new", "old"], "newest first"
    assert "QcloudKMSFullAccess" in preset
    assert names(cam) == names(cam, Scope="All") == own + preset
    assert names(cam, Keyword="kms") == ["QcloudKMSFullAccess", "QcloudKMSReadOnlyAccess"]
    assert names(cam, Keyword="OLD", Scope="Local") == ["old"]
    assert names(cam, Keyword="%") == names(cam, Keyword=".*") == []


def test_preset_policies_are_counted_too(installation: Installation, cam: Client) -> None:
    cam.AttachRolePolicy(PolicyId=1, AttachRoleId=make_role(installation, cam))
    assert (listed(cam, 1).Attachments, listed(cam, 1).Type, listed(cam, 2).Attachments) == (1, 2, 0)


def test_pages_are_the_whole_without_gaps(cam: Client) -> None:
    made = {make_policy(cam, f"p{i}") for i in range(7)}
    pages = [cam.ListPolicies(Scope="Local", Page=page, Rp=3) for page in (1, 2, 3, 4)]
    assert [len(p.List) for p in pages] == [3, 3, 1, 0]
    assert {p.PolicyId for page in pages for p in page.List} == made
    assert {p.TotalNum for p in pages} == {7}
    for wrong in ({"Page": 0}, {"Page": 201}, {"Rp": 0}, {"Rp": 201}, {"Page": -1}):
        with refused("InvalidParameter.ParamError"):
            cam.ListPolicies(**wrong)
    with refused("InvalidParameter.ScopeError"):
        cam.ListPolicies(Scope="Everything")
    with refused("InvalidParameter.SearchKeywordLengthError"):
        cam.ListPolicies(Keyword="x" * 129)
