from tests.actions.cam.attachments import Detaches


class TestDetachGroupPolicy(Detaches):
    kind = "Group"
    no_policy = "InvalidParameter.PolicyIdNotExist"
    no_holder = "ResourceNotFound.GroupNotExist"
