from tests.actions.cam.arrange_policies import make_policy, make_role
from tests.actions.cam.arrange_users import caller, make_group, uin_of
from tests.actions.ssm.arrange import outputs
from tests.installation import Client, Installation, refused

NOTHING = {
    "Policies": 0,
    "Roles": 0,
    "Idps": 0,
    "User": 0,
    "Group": 0,
    "Member": 0,
    "IdentityProviders": 0,
}


def test_a_new_account_has_nothing(cam: Client) -> None:
    assert outputs(cam.GetAccountSummary()) == NOTHING


def test_everything_counts(installation: Installation, cam: Client) -> None:
    for number in range(4):
        uin_of(cam, f"u{number}")
    groups = [make_group(cam, f"g{number}") for number in range(3)]
    policies = [make_policy(cam, f"p{number}") for number in range(2)]
    make_role(installation, cam)
    expected = {"User": 4, "Group": 3, "Policies": 2, "Roles": 1}
    assert outputs(cam.GetAccountSummary()) == {**NOTHING, **expected}
    cam.DeleteUser(Name="u0")
    cam.DeleteGroup(GroupId=groups[0])
    cam.DeletePolicy(PolicyId=policies)
    expected = {"User": 3, "Group": 2, "Roles": 1}
    assert outputs(cam.GetAccountSummary()) == {**NOTHING, **expected}
    stranger = installation.client("cam", who=installation.add_account())
    assert outputs(stranger.GetAccountSummary()) == NOTHING


def test_a_policy_may_allow_it(installation: Installation) -> None:
    answer = caller(installation, "GetAccountSummary").GetAccountSummary()
    assert (answer.User, answer.Policies) == (1, 1)
    with refused("AuthFailure.UnauthorizedOperation"):
        caller(installation, "GetUser").GetAccountSummary()
