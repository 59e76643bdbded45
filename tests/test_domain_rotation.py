"""An old generation of a domain key goes when nothing needs it, and not a moment earlier."""

from collections.abc import Iterator, Sequence

import pytest

from chalicelib.context import IDENTITY, Service
from chalicelib.domain_rotation import SESSION_SECONDS, NotYet, check_retirable
from chalicelib.jobs.rewrap_tokens import SETTLING_SECONDS
from chalicelib.table.port import Delete, Expect, Put, Row
from tests.installation import SM
from tests.jobs.token_rig import World


@pytest.fixture(scope="module")
def built() -> Iterator[World]:
    """One world for all tests."""
    world = World()
    yield world
    world.installation.service.close()


@pytest.fixture
def world(built: World) -> World:
    """Every domain key has a second generation that nothing is under yet."""
    built.reset()
    return built


def refusal(world: World, generation: int = 1, domain: str = SM) -> str:
    with pytest.raises(NotYet) as caught:
        check_retirable(world.installation.service, domain, generation)
    return str(caught.value)


def test_every_step_until_it_may_go_refuses_with_what_is_left(world: World) -> None:
    assert "Nothing of ap-guangzhou has been put under generation 2" in refusal(world)
    world.run(max_seconds=0.0001)
    assert "may still be written for 1 h 0 min" in refusal(world)
    while not world.run().finished:
        pass
    left = world.progress().left
    world.clock.advance(SETTLING_SECONDS - 61)
    assert "may still be written for 0 h 2 min" in refusal(world)
    world.clock.advance(61)
    assert f"The last pass over ap-guangzhou found {left} rows" in refusal(world)
    world.run(max_seconds=0.0001, page=2)
    assert "The last pass over ap-guangzhou is under way" in refusal(world)
    while not world.run().finished:
        pass
    check_retirable(world.installation.service, SM, 1)
    world.installation.hsms[SM].retire(1)
    assert "no generation 1: there is 2" in refusal(world)
    world.works()


def test_the_newest_generation_and_unknown_ones_never_go(world: World) -> None:
    world.finish()
    assert "is the newest" in refusal(world, 2)
    assert "there is 1, 2" in refusal(world, 3)
    assert "there is 1, 2" in refusal(world, 0)


def test_a_pass_that_is_clean_for_an_older_generation_counts_no_more(world: World) -> None:
    world.finish()
    world.installation.hsms[SM].rotate()
    assert "under generation 3 yet" in refusal(world, 1)
    assert "under generation 3 yet" in refusal(world, 2)
    world.finish()
    check_retirable(world.installation.service, SM, 1)
    check_retirable(world.installation.service, SM, 2)


def put_back(world: World, rows: Sequence[Row]) -> None:
    for row in rows:
        world.table().write([Put(row, Expect.ANY)])


@pytest.mark.parametrize("prefix", ["K#", "IT#"])
def test_rows_that_came_back_after_the_clean_pass_are_found_and_swept_again(
    world: World, prefix: str
) -> None:
    old = [row for (pk, _), row in world.rows().items() if pk.startswith(prefix)]
    world.finish()
    put_back(world, old)
    named = len(world.old())
    assert named > 0
    assert f"Generation 1 of {SM} is named in {named} rows. A new pass begins." in refusal(world)
    assert not world.progress().clean
    world.finish()
    assert world.old() == []
    check_retirable(world.installation.service, SM, 1)


def test_a_generation_that_nothing_names_may_go_before_one_that_something_names(world: World) -> None:
    world.finish()
    second = [row for (pk, _), row in world.rows().items() if pk.startswith("K#")]
    world.installation.hsms[SM].rotate()
    world.finish()
    put_back(world, second)
    check_retirable(world.installation.service, SM, 1)
    assert "Generation 2 of" in refusal(world, 2)


def test_a_row_that_cannot_be_read_may_name_anything_and_is_told(world: World) -> None:
    world.finish()
    pk = f"K#{world.installation.root.uin}#{SM}#broken"
    world.table().write([Put(Row(pk=pk, sk="M", body=b"canary"), Expect.ABSENT)])
    told = refusal(world)
    assert f"{pk}, M" in told
    assert "canary" not in told
    world.run()
    assert not world.progress().clean
    world.table().write([Delete(pk, "M", Expect.EXISTS)])
    world.finish()
    check_retirable(world.installation.service, SM, 1)


def test_identity_waits_for_the_end_of_temporary_credentials(world: World) -> None:
    begin = world.clock.now()
    world.finish(IDENTITY)
    assert world.progress(IDENTITY).clean
    world.clock._ms = (begin + SETTLING_SECONDS + SESSION_SECONDS - 60) * 1000
    assert "Temporary credentials under older generations end within 0 h 1 min:" in refusal(
        world, domain=IDENTITY
    )
    world.clock.advance(60)
    check_retirable(world.installation.service, IDENTITY, 1)


def test_a_process_without_the_newest_generation_refuses_to_judge(world: World) -> None:
    behind = world.installation.hsms[SM].twin(None)
    world.installation.hsms[SM].rotate()
    world.finish()
    service = Service(world.installation.settings, world.clock, world.table, lambda _domain: behind)
    with pytest.raises(NotYet, match="under generation 2 yet"):
        check_retirable(service, SM, 1)
