from tests.actions.cam.arrange_policies import make_policy, may
from tests.actions.cam.attachments import Detaches
from tests.inspected import Inspected
from tests.installation import Client


class TestDetachUserPolicy(Detaches):
    kind = "User"
    no_holder = "ResourceNotFound.UserNotExist"

    def test_the_user_may_no_longer_what_the_policy_allowed(
        self, installation: Inspected, cam: Client
    ) -> None:
        user, policy = installation.add_user("u2"), make_policy(cam)
        cam.AttachUserPolicy(PolicyId=policy, AttachUin=int(user.uin))
        assert may(installation, user)
        cam.DetachUserPolicy(PolicyId=policy, DetachUin=int(user.uin))
        assert not may(installation, user)
