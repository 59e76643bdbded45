"""Failover over several HSMs: software HSMs with one domain key, behind lines that can be cut."""

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from chalicelib.formats import key_token
from chalicelib.hsm import public, standby
from chalicelib.hsm.asymmetric import WrongUse
from chalicelib.hsm.port import (
    Damaged,
    Hsm,
    HsmKey,
    HsmMisconfigured,
    HsmUnavailable,
    KeyKind,
    NewGeneration,
    Padding,
    Protection,
    SignatureAlgorithm,
)
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.hsm.standby import StandbyHsm
from chalicelib.table.port import Busy

PLACE = b"place"


class Line:
    """The way to an HSM: calls go through it until it is cut, or hangs."""

    def __init__(self, hsm: SoftwareHsm) -> None:
        self.hsm = hsm
        self.error: type[Exception] | None = None
        self.calls: list[str] = []
        self.opened = 0
        self.opening_error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.slow: dict[str, float] = {}

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self.hsm, name)
        if name == "describe":
            return operation

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            self.gate.wait(60)
            time.sleep(self.slow.get(name, 0))
            if self.error is not None:
                raise self.error("cut")
            return operation(*args, **kwargs)

        return call

    def open(self) -> Hsm:
        self.opened += 1
        self.gate.wait(60)
        if self.opening_error is not None:
            raise self.opening_error
        return cast("Hsm", self)

    def hang(self) -> None:
        self.gate.clear()

    def mend(self) -> None:
        self.error = self.opening_error = None
        self.gate.set()


class Bench:
    """Two members `a` (preferred) and `b`, and a clock for the pauses."""

    def __init__(self, deadline: float = 2.0, *, empty: bool = False) -> None:
        first = {} if empty else {1: os.urandom(32)}
        self.a, self.b = (Line(SoftwareHsm("ap-guangzhou", first)) for _ in range(2))
        self.time = 1000.0
        self.hsm = StandbyHsm({"a": self.a.open, "b": self.b.open}, deadline, lambda: self.time)

    def states(self) -> str:
        return self.hsm.describe()["members"]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.a.mend()
    bench.b.mend()
    bench.hsm.close()


def calls(line: Line) -> list[str]:
    """What was asked since the last look, without probes."""
    made = [name for name in line.calls if name != "random"]
    line.calls.clear()
    return made


# Who answers


def test_the_preferred_member_answers_while_it_works(bench: Bench) -> None:
    key = bench.hsm.generate(KeyKind.AES_256, PLACE)
    calls(bench.b)
    for _ in range(3):
        assert bench.hsm.decrypt(key, bench.hsm.encrypt(key, b"text", b""), b"") == b"text"
    assert not calls(bench.b)


def test_the_standby_opens_what_the_preferred_member_sealed(bench: Bench) -> None:
    key = bench.hsm.generate(KeyKind.SM4, PLACE)
    message = bench.hsm.encrypt(key, b"text", b"")
    bench.a.error = HsmUnavailable
    assert bench.hsm.decrypt(key, message, b"") == b"text"


@pytest.mark.parametrize("kind", [KeyKind.AES_256, KeyKind.SM4, KeyKind.RSA_2048, KeyKind.EC_P256])
def test_every_operation_fails_over(bench: Bench, kind: KeyKind) -> None:
    hsm = bench.hsm
    key = hsm.generate(kind, PLACE)
    bench.a.error = HsmUnavailable
    assert key_token.generation_of(hsm.generate(kind, PLACE).token) == 1
    assert hsm.rewrap(key).binding == PLACE
    assert len(hsm.random(5)) == 5
    assert hsm.protection(kind) is Protection.PROCESS
    if kind in (KeyKind.AES_256, KeyKind.SM4):
        assert hsm.decrypt(key, hsm.encrypt(key, b"text", b""), b"") == b"text"
        assert hsm.check_value(key) == bench.b.hsm.check_value(key)
        return
    assert hsm.public_key(key) == bench.b.hsm.public_key(key)
    algorithm = {
        KeyKind.RSA_2048: SignatureAlgorithm.RSA_PKCS1_SHA_256,
        KeyKind.EC_P256: SignatureAlgorithm.ECC_P256_R1,
    }[kind]
    assert hsm.sign(key, algorithm, b"message", is_digest=False)


def test_imports_and_asymmetric_decryption_fail_over(bench: Bench) -> None:
    wrapping = bench.hsm.generate(KeyKind.RSA_2048, PLACE)
    pem = public.to_pem(bench.hsm.public_key(wrapping))
    wrapped = public.encrypt_to(pem, Padding.RSAES_OAEP_SHA_256, bytes(32))
    bench.a.error = HsmUnavailable
    imported = bench.hsm.import_key(wrapping, Padding.RSAES_OAEP_SHA_256, wrapped, KeyKind.AES_256, PLACE)
    assert bench.hsm.decrypt(imported, bench.hsm.encrypt(imported, b"text", b""), b"") == b"text"
    assert bench.hsm.decrypt_asymmetric(wrapping, Padding.RSAES_OAEP_SHA_256, wrapped) == bytes(32)


def test_a_shared_secret_comes_from_the_standby(bench: Bench) -> None:
    key = bench.hsm.generate(KeyKind.ML_KEM_1024, PLACE)
    secret, encapsulated = public.encapsulate(bench.hsm.public_key(key))
    bench.a.error = HsmUnavailable
    assert secret == bench.hsm.decapsulate(key, encapsulated)


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (lambda hsm, key, message: hsm.decrypt(key, message[:-1], b""), Damaged),
        (lambda hsm, key, message: hsm.decrypt(HsmKey(key.kind, key.token, b"other"), message, b""), Damaged),
        (lambda hsm, key, message: hsm.decrypt(HsmKey(key.kind, b"", PLACE), message, b""), Damaged),
        (lambda hsm, key, _: hsm.public_key(key), WrongUse),
    ],
)
def test_the_callers_mistake_is_nobody_elses_failure(
    bench: Bench, operation: Callable[[Hsm, HsmKey, bytes], Any], error: type[Exception]
) -> None:
    """One member answers, the other is not bothered, and both stay up."""
    key = bench.hsm.generate(KeyKind.AES_256, PLACE)
    message = bench.hsm.encrypt(key, b"text", b"")
    calls(bench.b)
    with pytest.raises(error):
        operation(bench.hsm, key, message)
    assert not calls(bench.b)
    assert bench.states() == "a up, b up"


def test_without_any_member_it_is_unavailable(bench: Bench) -> None:
    key = bench.hsm.generate(KeyKind.AES_256, PLACE)
    bench.a.error = bench.b.error = HsmUnavailable
    with pytest.raises(HsmUnavailable, match=r"^No HSM can answer: a down, b down\.$"):
        bench.hsm.encrypt(key, b"text", b"")


def test_a_refusal_of_all_is_a_refusal(bench: Bench) -> None:
    bench.hsm.generate(KeyKind.AES_256, PLACE)
    bench.a.error = bench.b.error = HsmMisconfigured
    with pytest.raises(HsmMisconfigured):
        bench.hsm.generate(KeyKind.AES_256, PLACE)


def test_one_refused_mechanism_is_no_failure_of_the_member() -> None:
    """Else whoever may ask for such a key could take both members down."""

    class Partly(Line):
        def __getattr__(self, name: str) -> Any:
            operation = super().__getattr__(name)
            if name != "generate":
                return operation

            def refuse(*_: Any) -> HsmKey:
                raise HsmMisconfigured("no such mechanism")

            return refuse

    both = {1: os.urandom(32)}
    a, b = Partly(SoftwareHsm("r", both)), Line(SoftwareHsm("r", both))
    hsm = StandbyHsm({"a": a.open, "b": b.open}, 2.0)
    assert hsm.generate(KeyKind.SM4, PLACE).binding == PLACE
    assert hsm.describe()["members"] == "a up, b up"
    hsm.close()


# Time


def test_a_call_that_hangs_is_answered_by_the_standby_within_the_deadline(bench: Bench) -> None:
    key = bench.hsm.generate(KeyKind.AES_256, PLACE)
    bench.a.hang()
    began = time.monotonic()
    assert bench.hsm.encrypt(key, b"text", b"")
    assert time.monotonic() - began < 2.0
    began = time.monotonic()
    assert bench.hsm.encrypt(key, b"text", b"")
    assert time.monotonic() - began < 0.3, "the next call does not wait again"
    assert "a down" in bench.states()


def test_when_all_hang_the_deadline_holds(bench: Bench) -> None:
    key = bench.hsm.generate(KeyKind.AES_256, PLACE)
    bench.a.hang()
    bench.b.hang()
    began = time.monotonic()
    with pytest.raises(HsmUnavailable):
        bench.hsm.encrypt(key, b"text", b"")
    assert time.monotonic() - began < 2.2


def test_slow_is_not_dead(bench: Bench) -> None:
    """A key that takes long to make must not cost everybody the preferred member."""
    bench.hsm.random(1)
    bench.a.slow["generate"] = 1.2
    assert bench.hsm.generate(KeyKind.AES_256, PLACE).binding == PLACE
    assert bench.states() == "a up, b up"


def test_threads_are_bounded_while_a_member_hangs(bench: Bench) -> None:
    before = set(threading.enumerate())
    bench.hsm.random(1)
    bench.a.hang()
    with ThreadPoolExecutor(3 * standby.WORKERS) as pool:
        assert all(pool.map(lambda _: len(bench.hsm.random(1)) == 1, range(3 * standby.WORKERS)))
    started = set(threading.enumerate()) - before
    assert sum(thread.name == "hsm a" for thread in started) == standby.WORKERS
    bench.time += 100
    began = time.monotonic()
    assert bench.hsm.random(1)
    assert time.monotonic() - began < 1, "with no thread left for a probe it is down all the same"
    bench.a.mend()
    bench.time += 100
    bench.hsm.random(1)
    assert bench.states() == "a up, b up"


# Coming back


def test_a_dead_member_is_left_alone_for_longer_and_longer(bench: Bench) -> None:
    bench.hsm.random(1)
    bench.a.error = HsmUnavailable
    bench.hsm.random(1)
    asked = []
    for tenth in range(1200):
        bench.time = 1000.0 + tenth / 10
        bench.a.calls.clear()
        bench.hsm.random(1)
        asked += [tenth / 10] * bool(bench.a.calls)
    pauses = [round(b - a, 1) for a, b in itertools.pairwise(asked)]
    assert asked[0] == 0.5
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_after_the_pause_one_call_tries_it_and_it_is_preferred_again(bench: Bench) -> None:
    key = bench.hsm.generate(KeyKind.AES_256, PLACE)
    bench.a.error = HsmUnavailable
    bench.hsm.encrypt(key, b"text", b"")
    bench.a.mend()
    bench.a.calls.clear()
    bench.hsm.encrypt(key, b"text", b"")
    assert not bench.a.calls, "its pause is not over"
    bench.time += standby.FIRST_PAUSE
    bench.hsm.encrypt(key, b"text", b"")
    assert bench.a.calls == ["random", "encrypt"]
    assert bench.states() == "a up, b up"


def test_a_member_that_still_hangs_costs_one_call_a_short_probe(bench: Bench) -> None:
    key = bench.hsm.generate(KeyKind.AES_256, PLACE)
    bench.a.hang()
    bench.hsm.encrypt(key, b"text", b"")
    bench.time += 100
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: bench.hsm.encrypt(key, b"text", b""), range(8)))
    assert time.monotonic() - began < 1.2
    assert bench.a.calls.count("random") <= 3, "one caller at a time"


def test_a_pause_does_not_count_when_nobody_else_answers(bench: Bench) -> None:
    """Both were cut for a moment: the next call finds them again, whatever their pauses."""
    key = bench.hsm.generate(KeyKind.AES_256, PLACE)
    bench.a.error = bench.b.error = HsmUnavailable
    with pytest.raises(HsmUnavailable):
        bench.hsm.encrypt(key, b"text", b"")
    bench.b.mend()
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: bench.hsm.encrypt(key, b"text", b""), range(16)))


def test_a_standby_that_is_down_at_the_start_does_no_harm() -> None:
    bench = Bench()
    bench.b.opening_error = HsmUnavailable("no such slot")
    key = bench.hsm.generate(KeyKind.AES_256, PLACE)
    assert bench.hsm.encrypt(key, b"text", b"")
    bench.b.mend()
    bench.time += 100
    bench.a.error = HsmUnavailable
    assert bench.hsm.encrypt(key, b"text", b"")
    bench.hsm.close()


def test_a_wrong_pin_is_tried_once(bench: Bench) -> None:
    """Tokens count wrong PINs and lock themselves."""
    bench.a.opening_error = HsmMisconfigured("wrong PIN")
    for _ in range(5):
        bench.time += 1000
        assert bench.hsm.generate(KeyKind.AES_256, PLACE).binding == PLACE
    assert bench.a.opened == 1
    assert [(m.name, m.state, m.error) for m in bench.hsm.health()] == [
        ("a", "misconfigured", "HsmMisconfigured"),
        ("b", "up", ""),
    ]


# Generations


def add_generation(line: Line) -> None:
    """A rotation that reached one member only."""
    line.hsm.rotate()


def test_a_token_of_a_generation_that_the_preferred_member_lacks_goes_to_the_standby(bench: Bench) -> None:
    add_generation(bench.b)
    key = bench.b.hsm.generate(KeyKind.AES_256, PLACE)
    assert key_token.generation_of(key.token) == 2
    assert bench.hsm.decrypt(key, bench.b.hsm.encrypt(key, b"text", b""), b"") == b"text"
    assert bench.states() == "a up, b up"


def test_a_generation_that_nobody_has_is_damage(bench: Bench) -> None:
    key = bench.hsm.generate(KeyKind.AES_256, PLACE)
    forged = HsmKey(key.kind, key.token[:2] + (9).to_bytes(4) + key.token[6:], PLACE)
    with pytest.raises(Damaged):
        bench.hsm.check_value(forged)


def test_a_generation_that_a_silent_member_may_have_is_no_damage(bench: Bench) -> None:
    """InvalidCiphertext would be for ever; this is over when the member is back."""
    add_generation(bench.b)
    key = bench.b.hsm.generate(KeyKind.AES_256, PLACE)
    bench.b.error = HsmUnavailable
    with pytest.raises(HsmUnavailable):
        bench.hsm.check_value(key)


@pytest.mark.parametrize("ahead", ["a", "b"])
def test_new_tokens_have_a_generation_that_every_member_has(bench: Bench, ahead: str) -> None:
    bench.hsm.generate(KeyKind.AES_256, PLACE)
    add_generation(getattr(bench, ahead))
    for kind in (KeyKind.AES_256, KeyKind.EC_P256):
        key = bench.hsm.generate(kind, PLACE)
        assert key_token.generation_of(key.token) == 1
        assert key_token.generation_of(bench.hsm.rewrap(key).token) == 1
    assert list(bench.hsm.generations()) == [1]
    bench.hsm.rotate()
    assert key_token.generation_of(bench.hsm.generate(KeyKind.AES_256, PLACE).token) == 3
    assert max(bench.hsm.generations()) == 3


def test_also_while_the_member_that_lacks_the_newest_one_is_down(bench: Bench) -> None:
    bench.hsm.generate(KeyKind.AES_256, PLACE)
    bench.hsm.generations()
    add_generation(bench.b)
    bench.a.error = HsmUnavailable
    assert key_token.generation_of(bench.hsm.generate(KeyKind.AES_256, PLACE).token) == 1


def test_an_empty_standby_holds_nothing_back() -> None:
    bench = Bench()
    bench.b = Line(SoftwareHsm("ap-guangzhou", {}))
    hsm = StandbyHsm({"a": bench.a.open, "b": bench.b.open}, 2.0)
    assert hsm.generate(KeyKind.AES_256, PLACE).binding == PLACE
    assert list(hsm.generations()) == [1]
    hsm.close()


def test_a_generation_that_another_process_made_is_noticed_when_a_token_has_it(bench: Bench) -> None:
    """Each member looks for itself: that one has seen it before the other is no half-done rotation."""
    bench.hsm.generate(KeyKind.AES_256, PLACE)
    made = bench.a.hsm.rotate([bench.b.hsm.transport_key()])
    bench.b.hsm.receive(made.number, made.sealed[0])
    assert key_token.generation_of(bench.hsm.generate(KeyKind.AES_256, PLACE).token) == 2


# Rotation


@pytest.mark.parametrize("empty", [True, False])
def test_a_rotation_reaches_every_member(empty: bool) -> None:  # noqa: FBT001 - pytest's
    bench = Bench(empty=empty)
    kept: list[NewGeneration] = []
    made = bench.hsm.rotate([], kept.append)
    assert kept == [made]
    assert made.sealed == ()
    for line in (bench.a, bench.b):
        assert max(line.hsm.generations()) == made.number
    key = bench.a.hsm.generate(KeyKind.AES_256, PLACE)
    assert bench.b.hsm.check_value(key) == bench.a.hsm.check_value(key)
    bench.hsm.close()


def test_the_callers_recipients_get_theirs_and_not_the_members(bench: Bench) -> None:
    recipient = SoftwareHsm.ephemeral("ap-guangzhou").transport_key()
    made = bench.hsm.rotate([recipient])
    assert len(made.sealed) == 1


def test_a_rotation_needs_every_member(bench: Bench) -> None:
    for line in (bench.a, bench.b):
        line.error = HsmUnavailable
        with pytest.raises(HsmUnavailable, match="does not answer: every HSM must work for this"):
            bench.hsm.rotate()
        line.mend()
    assert list(bench.a.hsm.generations()) == list(bench.b.hsm.generations()) == [1]


def test_a_rotation_that_is_not_kept_is_none(bench: Bench) -> None:
    def keep(_: NewGeneration) -> None:
        raise Busy("the table is away")

    with pytest.raises(Busy):
        bench.hsm.rotate([], keep)
    assert list(bench.a.hsm.generations()) == list(bench.b.hsm.generations()) == [1]


def test_a_rotation_that_died_half_way_is_mended_by_the_next(bench: Bench) -> None:
    key = bench.hsm.generate(KeyKind.AES_256, PLACE)
    made = bench.a.hsm.rotate([bench.b.hsm.transport_key()])
    bench.b.hsm.receive(made.number, made.sealed[0])
    bench.a.hsm = SoftwareHsm("ap-guangzhou", {1: bench.a.hsm._store.read()[1]})  # a dies before it keeps it
    assert list(bench.a.hsm.generations()) == [1]
    assert list(bench.b.hsm.generations()) == [1, 2]
    assert key_token.generation_of(bench.hsm.generate(KeyKind.AES_256, PLACE).token) == 1
    assert bench.hsm.rotate().number == 3
    new = bench.hsm.rewrap(key)
    assert key_token.generation_of(new.token) == 3
    assert bench.b.hsm.check_value(new) == bench.a.hsm.check_value(new)


def test_retiring_needs_every_member_and_happens_on_all(bench: Bench) -> None:
    bench.hsm.rotate()
    bench.b.error = HsmUnavailable
    with pytest.raises(HsmUnavailable):
        bench.hsm.retire(1)
    assert list(bench.a.hsm.generations()) == [1, 2]
    bench.b.mend()
    with pytest.raises(ValueError, match="newest"):
        bench.hsm.retire(2)
    bench.hsm.retire(1)
    bench.hsm.retire(1)
    assert list(bench.a.hsm.generations()) == list(bench.b.hsm.generations()) == [2]


def test_transport_keys_are_each_members_own(bench: Bench) -> None:
    with pytest.raises(ValueError, match="ask the member"):
        bench.hsm.transport_key()
    with pytest.raises(ValueError, match="ask the member"):
        bench.hsm.receive(1, b"")
    assert list(bench.hsm.members()) == ["a", "b"]


# Health, end, fork


def test_health_says_since_when_and_what(bench: Bench) -> None:
    bench.hsm.generations()
    bench.a.error = HsmUnavailable
    bench.hsm.random(1)
    bench.time += 12
    a, b = bench.hsm.health()
    assert (a.name, a.state, a.error, a.generations) == ("a", "down", "HsmUnavailable", (1,))
    assert (b.name, b.state, b.error) == ("b", "up", "")
    assert a.seconds == 12
    bench.a.mend()
    bench.time += 5
    assert (bench.hsm.health()[0].state, bench.hsm.health()[0].seconds) == ("up", 0)


def test_it_describes_what_all_members_can_do() -> None:
    class Poor(Line):
        def __getattr__(self, name: str) -> Any:
            if name == "describe":
                return lambda: {**self.hsm.describe(), "kinds": "AES_256,EC_P256"}
            return super().__getattr__(name)

    keys = {1: os.urandom(32)}
    a, b = Line(SoftwareHsm("r", keys)), Poor(SoftwareHsm("r", keys))
    hsm = StandbyHsm({"a": a.open, "b": b.open}, 2.0)
    hsm.health()
    assert hsm.describe()["kinds"] == "AES_256,EC_P256"
    hsm.close()


def test_after_its_end_it_is_unavailable(bench: Bench) -> None:
    bench.hsm.random(1)
    bench.hsm.close()
    with pytest.raises(HsmUnavailable):
        bench.hsm.random(1)


def test_it_closes_although_a_member_hangs(bench: Bench) -> None:
    bench.hsm.random(1)
    bench.a.hang()
    began = time.monotonic()
    bench.hsm.close()
    assert time.monotonic() - began < 2


def test_a_forked_child_has_threads_of_its_own(bench: Bench) -> None:
    key = bench.hsm.generate(KeyKind.AES_256, PLACE)
    bench.a.calls.clear()
    bench.b.calls.clear()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            bench.hsm.encrypt(key, b"text", b"")
            os._exit(0 if bench.a.calls == ["encrypt"] and not bench.b.calls else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# Load


@pytest.mark.parametrize("how", ["cut", "hang"])
def test_one_of_two_is_lost_under_load_and_no_request_fails(how: str) -> None:
    bench = Bench(deadline=4.0)
    hsm = bench.hsm
    keys = [hsm.generate(kind, PLACE) for kind in (KeyKind.AES_256, KeyKind.SM4)]
    stop = threading.Event()
    done = [0] * 8

    def work(number: int) -> None:
        while not stop.is_set():
            key = keys[done[number] % 2]
            text = os.urandom(20)
            assert hsm.decrypt(key, hsm.encrypt(key, text, b"ad"), b"ad") == text
            done[number] += 1

    with ThreadPoolExecutor(8) as pool:
        workers = [pool.submit(work, number) for number in range(8)]
        try:
            time.sleep(0.2)
            before = sum(done)
            if how == "cut":
                bench.a.error = HsmUnavailable
            else:
                bench.a.hang()
            time.sleep(3)
            during = sum(done)
            bench.a.mend()
            bench.time += 1000
            time.sleep(0.5)
        finally:
            stop.set()
        for worker in workers:
            worker.result()
    assert before > 0
    assert during > before
    assert sum(done) > during
    assert bench.states() == "a up, b up"
    hsm.close()
