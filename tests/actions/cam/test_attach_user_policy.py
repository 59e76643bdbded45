import functools

from tests.actions.cam.arrange_policies import Holder, check_attachments, make_policy, may
from tests.actions.cam.attachments import Attaches
from tests.actions.ssm.arrange import together
from tests.inspected import Inspected
from tests.installation import Client, refused


class TestAttachUserPolicy(Attaches):
    kind = "User"
    no_holder = "ResourceNotFound.UserNotExist"

    def test_the_user_may_what_the_policy_allows(self, installation: Inspected, cam: Client) -> None:
        user, other = installation.add_user("u"), installation.add_user("v")
        assert not may(installation, user)
        cam.AttachUserPolicy(PolicyId=make_policy(cam), AttachUin=int(user.uin))
        assert may(installation, user)
        assert not may(installation, other)

    def test_the_account_itself_has_no_policies(self, installation: Inspected, cam: Client) -> None:
        with refused("ResourceNotFound.UserNotExist"):
            Holder(self.kind, int(installation.root.uin)).attach(cam, make_policy(cam))

    def test_nothing_is_attached_to_a_user_that_is_being_deleted(
        self, installation: Inspected, cam: Client
    ) -> None:
        policy = make_policy(cam)
        for _ in range(4):
            uin = cam.AddUser(Name="gone").Uin
            one, two = installation.client("cam"), installation.client("cam")
            ended = together(
                [
                    functools.partial(one.AttachUserPolicy, PolicyId=policy, AttachUin=uin),
                    functools.partial(two.DeleteUser, Name="gone"),
                ]
            )
            assert ended in (["ok", "ok"], ["ResourceNotFound.UserNotExist", "ok"])
            check_attachments(installation)
