from tests.actions.cam.arrange_policies import Holder, make_policy
from tests.actions.cam.attachments import Attaches
from tests.installation import Client, refused


class TestAttachRolePolicy(Attaches):
    kind = "Role"
    no_policy = "InvalidParameter.PolicyIdNotExist"
    no_holder = "InvalidParameter.RoleNotExist"

    def test_role_and_policy_by_name(self, cam: Client, holder: Holder) -> None:
        policy = make_policy(cam, "Named")
        cam.AttachRolePolicy(AttachRoleName="r", PolicyName="Named")
        cam.AttachRolePolicy(AttachRoleName="R", PolicyName="administratoraccess")
        assert holder.attached(cam) == [policy, 1]

    def test_one_name_of_each_is_needed(self, cam: Client, holder: Holder) -> None:
        for named in ({"PolicyId": 1}, {"AttachRoleId": holder.id}, {}):
            with refused("InvalidParameter.ParamError"):
                cam.AttachRolePolicy(**named)
        with refused("InvalidParameter.RoleNotExist"):
            cam.AttachRolePolicy(PolicyId=1, AttachRoleName="other")
        with refused("InvalidParameter.RoleNotExist"):
            cam.AttachRolePolicy(PolicyId=1, AttachRoleName="other", AttachRoleId=holder.id)
        with refused("InvalidParameter.PolicyIdNotExist"):
            cam.AttachRolePolicy(PolicyName="other", AttachRoleId=holder.id)
        assert holder.attached(cam) == []
