from tests.actions.cam.attachments import Lists


class TestListAttachedUserPolicies(Lists):
    kind = "User"
    no_holder = "ResourceNotFound.UserNotExist"
