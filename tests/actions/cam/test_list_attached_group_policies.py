from tests.actions.cam.arrange_policies import make_holder, make_policy
from tests.actions.cam.attachments import Lists
from tests.installation import Client, Installation, refused


class TestListAttachedGroupPolicies(Lists):
    kind = "Group"
    no_holder = "ResourceNotFound.GroupNotExist"

    def test_keywords(self, installation: Installation, cam: Client) -> None:
        holder = make_holder(installation, cam, "Group")
        for policy in (make_policy(cam, "Reader"), 1, 11):
            holder.attach(cam, policy)
        for keyword, names in (
            ("read", ["Reader"]),
            ("access", ["AdministratorAccess", "QcloudKMSFullAccess"]),
        ):
            answer = cam.ListAttachedGroupPolicies(TargetGroupId=holder.id, Keyword=keyword)
            assert [p.PolicyName for p in answer.List] == names
            assert answer.TotalNum == len(names)
        with refused("InvalidParameter.SearchKeywordLengthError"):
            cam.ListAttachedGroupPolicies(TargetGroupId=holder.id, Keyword="x" * 129)
