from tests.actions.cam.arrange_policies import Holder, make_policy
from tests.actions.cam.attachments import Detaches
from tests.installation import Client


class TestDetachRolePolicy(Detaches):
    kind = "Role"
    no_policy = "InvalidParameter.PolicyIdNotExist"
    no_holder = "InvalidParameter.RoleNotExist"

    def test_role_and_policy_by_name(self, cam: Client, holder: Holder) -> None:
        holder.attach(cam, make_policy(cam, "Named"))
        cam.DetachRolePolicy(DetachRoleName="r", PolicyName="named")
        assert holder.attached(cam) == []
