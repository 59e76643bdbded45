from tests.actions.cam.arrange_policies import Holder, make_policy, may
from tests.actions.cam.attachments import Attaches
from tests.inspected import Inspected
from tests.installation import Client


class TestAttachGroupPolicy(Attaches):
    kind = "Group"
    no_holder = "ResourceNotFound.GroupNotExist"

    def test_all_users_of_the_group_may_what_the_policy_allows(
        self, installation: Inspected, cam: Client, holder: Holder
    ) -> None:
        user, other = installation.add_user("u"), installation.add_user("v")
        cam.AddUserToGroup(Info=[{"Uin": int(user.uin), "GroupId": holder.id}])
        assert not may(installation, user)
        holder.attach(cam, make_policy(cam))
        assert may(installation, user)
        assert not may(installation, other)
        cam.RemoveUserFromGroup(Info=[{"Uin": int(user.uin), "GroupId": holder.id}])
        assert not may(installation, user)
