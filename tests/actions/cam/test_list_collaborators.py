import pytest

from tests.actions.cam.arrange_users import caller, uin_of
from tests.installation import Client, Installation, refused


@pytest.mark.parametrize("page", [{}, {"Limit": 10, "Offset": 0}, {"Limit": 0, "Offset": 99}], ids=str)
def test_there_are_none(cam: Client, page: dict[str, int]) -> None:
    uin_of(cam)
    answer = cam.ListCollaborators(**page)
    assert (answer.TotalNum, answer.Data) == (0, [])


def test_pages_that_are_refused(cam: Client) -> None:
    with refused("InvalidParameter.ParamError"):
        cam.ListCollaborators(Limit=-1)


def test_a_policy_may_allow_it(installation: Installation) -> None:
    assert caller(installation, "ListCollaborators").ListCollaborators().TotalNum == 0
    with refused("AuthFailure.UnauthorizedOperation"):
        caller(installation, "ListUsers").ListCollaborators()
