"""Sessions with a token: what each return code leads to, removal, fork, threads, cached handles.

Faults come from the shim, which answers for SoftHSM2: see FAULTS for the table of return codes.
"""

import concurrent.futures
import contextlib
import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chalicelib.hsm import cryptoki, sessions
from chalicelib.hsm.cryptoki import Attributes, CryptokiError, Mechanism, Session
from chalicelib.hsm.port import Damaged, HsmMisconfigured, HsmUnavailable
from chalicelib.hsm.sessions import Token
from tests.hsm import softhsm
from tests.hsm.shim import USER, Shim

pytestmark = pytest.mark.softhsm

IV = bytes(12)
AES: Attributes = {
    cryptoki.CKA_VALUE_LEN: 32,
    cryptoki.CKA_SENSITIVE: True,
    cryptoki.CKA_EXTRACTABLE: False,
    cryptoki.CKA_ENCRYPT: True,
    cryptoki.CKA_DECRYPT: True,
}
KNOWN: Attributes = {
    cryptoki.CKA_CLASS: cryptoki.CKO_SECRET_KEY,
    cryptoki.CKA_KEY_TYPE: cryptoki.CKK_AES,
    cryptoki.CKA_ENCRYPT: True,
    cryptoki.CKA_DECRYPT: True,
}
ENTERING = ("OpenSession", "Login", "GetSlotList", "GetTokenInfo", "Initialize", "Finalize")
REOPENED = (0xB0, 0xB3, 0x82, 0x60, 0x101)
INITIALIZED = (0x190, 0x30, 0x32, 0x03, 0xE0, 0xE1)
UNAVAILABLE = (0x02, 0x31, 0xB1)
PASSED_ON = (0x05, 0x06, 0x07, 0x20, 0x21, 0x40, 0x41, 0x54, 0x68, 0x70, 0x71, 0x90, 0xC0, 0x110)
PIN_REFUSED = (0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0x102)


@pytest.fixture(scope="module")
def shim() -> Shim:
    return Shim()


@pytest.fixture(scope="module")
def new(shim: Shim) -> softhsm.NewToken:
    return softhsm.new_token()


@pytest.fixture
def token(shim: Shim, new: softhsm.NewToken) -> Iterator[Token]:
    """Through the shim, connected, with nothing counted yet."""
    shim.reset()
    token = new.open(shim.path)
    encrypt(token)
    may_initialize(token)
    shim.reset()
    yield token
    shim.reset()
    token.close()


def may_initialize(token: Token) -> None:
    """As if C_Initialize were long ago."""
    sessions._library(token.module).earliest_start = 0.0


def make(keeper: Session) -> int:
    return keeper.generate_key(Mechanism(cryptoki.CKM_AES_KEY_GEN), AES)


def known(value: int) -> Callable[[Session], int]:
    """Makes the key whose bytes are all `value`."""
    return lambda keeper: keeper.create_object({**KNOWN, cryptoki.CKA_VALUE: bytes([value]) * 32})


def encrypt(token: Token, value: int = 0) -> bytes:
    """One operation with a cached handle: a known key, so that its result tells the key."""

    def operation(session: Session) -> bytes:
        with token.handle(("known", value), known(value)) as handle:
            return session.encrypt(Mechanism.gcm(IV, b""), handle, bytes(4))

    return token.call(operation)


EXPECTED = bytes.fromhex("cea7403d")
"""AES-256-GCM with a key and IV of zeros: the first bytes of its stream (test case 14 of the GCM specification)."""


def test_it_works(token: Token, shim: Shim) -> None:
    assert encrypt(token)[:4] == EXPECTED
    assert encrypt(token, 1)[:4] != EXPECTED
    assert not any(shim.calls(function) for function in ENTERING), "one login, sessions that stay"
    assert shim.sessions == 2, "the keeper, and one that operates"


def test_nothing_is_touched_before_the_first_use(shim: Shim, new: softhsm.NewToken) -> None:
    shim.reset()
    token = Token(cryptoki.load(shim.path), new.label, new.pin)
    token.close()
    assert not any(shim.calls(function) for function in ENTERING)


@pytest.mark.parametrize("function", ["EncryptInit", "Encrypt"])
@pytest.mark.parametrize("code", REOPENED)
def test_a_lost_session_is_opened_again(token: Token, shim: Shim, code: int, function: str) -> None:
    shim.fail(function, code)
    assert encrypt(token)[:4] == EXPECTED
    assert shim.calls("Login") == 1
    assert shim.calls(function) == 2
    assert shim.calls("Finalize") == 0
    assert shim.sessions == 2, "the lost ones are closed"


@pytest.mark.parametrize("code", INITIALIZED)
def test_a_lost_library_is_initialized_again(token: Token, shim: Shim, code: int) -> None:
    shim.fail("Encrypt", code)
    assert encrypt(token)[:4] == EXPECTED
    assert shim.calls("Finalize") == shim.calls("Initialize") == 1
    assert shim.calls("Encrypt") == 2


@pytest.mark.parametrize("code", [code for code in INITIALIZED if code != 0x190])
def test_but_not_often(token: Token, shim: Shim, code: int) -> None:
    """C_Finalize ends the sessions of the other tokens, too: a short time later only the connection is new."""
    for _ in range(3):
        shim.fail("Encrypt", code)
        assert encrypt(token)[:4] == EXPECTED
    assert shim.calls("Finalize") == shim.calls("Initialize") == 1
    assert shim.calls("Login") == 3


@pytest.mark.parametrize("code", REOPENED + INITIALIZED)
def test_it_is_tried_once_more_and_not_twice(token: Token, shim: Shim, code: int) -> None:
    shim.fail("Encrypt", code, times=2)
    with pytest.raises(HsmUnavailable) as caught:
        encrypt(token)
    assert f"0x{code:08X}" in str(caught.value)
    assert shim.calls("Encrypt") == 2
    assert encrypt(token)[:4] == EXPECTED, "the next request finds it well"


@pytest.mark.parametrize("code", UNAVAILABLE)
def test_what_is_used_up_is_unavailable_at_once(token: Token, shim: Shim, code: int) -> None:
    shim.fail("Encrypt", code)
    with pytest.raises(HsmUnavailable):
        encrypt(token)
    assert shim.calls("Encrypt") == 1
    assert shim.calls("Login") == 0
    assert encrypt(token)[:4] == EXPECTED


@pytest.mark.parametrize("code", PASSED_ON)
def test_what_depends_on_the_operation_is_passed_on(token: Token, shim: Shim, code: int) -> None:
    """05, 40 and 41 mean a bad ciphertext only to whoever decrypts; 70 and 07 what the token cannot do."""
    shim.fail("Encrypt", code)
    with pytest.raises(CryptokiError) as caught:
        encrypt(token)
    assert (caught.value.function, caught.value.code) == ("C_Encrypt", code)
    assert shim.calls("Encrypt") == 1
    assert shim.calls("Login") == 0
    says_nothing = {0x20, 0x21, 0x40, 0x41, 0xC0, 0x110}
    assert shim.calls("CloseSession") == (code not in says_nothing), "a session in doubt is closed"
    assert encrypt(token)[:4] == EXPECTED


@pytest.mark.parametrize("function", ["GetSlotList", "OpenSession", "Login"])
@pytest.mark.parametrize("code", REOPENED + INITIALIZED)
def test_a_connection_is_tried_once_more(token: Token, shim: Shim, code: int, function: str) -> None:
    for times in (1, 2):
        token.close()
        may_initialize(token)
        shim.reset()
        shim.fail(function, code, times=times)
        if times == 1:
            assert encrypt(token)[:4] == EXPECTED
        else:
            with pytest.raises(HsmUnavailable):
                encrypt(token)
        assert shim.calls("Initialize") == 1


@pytest.mark.parametrize(
    ("function", "code"),
    [
        ("Initialize", 0x05),
        ("GetSlotList", 0x05),
        ("OpenSession", 0xB1),
        ("OpenSession", 0x06),
        ("Login", 0x05),
    ],
)
def test_other_codes_while_connecting_are_unavailable(
    token: Token, shim: Shim, function: str, code: int
) -> None:
    token.close()
    if function == "Initialize":
        sessions._library(token.module)._is_initialized = False
    shim.fail(function, code)
    with pytest.raises(HsmUnavailable):
        encrypt(token)
    assert encrypt(token)[:4] == EXPECTED


@pytest.mark.parametrize("code", [0xB1, 0x06, 0xB3, 0x30])
def test_a_further_session_that_does_not_open(token: Token, shim: Shim, code: int) -> None:
    """Not the keeper's, but one more for a second thread."""

    def hold(session: Session) -> None:
        shim.fail("OpenSession", code)
        with contextlib.suppress(HsmUnavailable):
            encrypt(token)

    token.call(hold)
    assert encrypt(token)[:4] == EXPECTED
    assert sessions._library(token.module).users == 0


def test_a_wrong_pin_is_shown_once(shim: Shim, new: softhsm.NewToken) -> None:
    """By no other Token, thread or forked process either."""
    shim.reset()
    wrong = Token(cryptoki.load(shim.path), new.label, "a wrong one, shown once")
    with pytest.raises(HsmMisconfigured, match="KEYSTEAD_PKCS11_PIN") as caught:
        encrypt(wrong)
    assert "a wrong one" not in str(caught.value)
    assert shim.calls("Login") == 1
    shim.reset()
    again = Token(cryptoki.load(shim.path), new.label, "a wrong one, shown once")
    for token in (wrong, again):
        with pytest.raises(HsmMisconfigured):
            encrypt(token)
    assert not any(shim.calls(function) for function in ENTERING)

    def in_child() -> bool:
        with pytest.raises(HsmMisconfigured):
            encrypt(again)
        return shim.calls("Login") == 0

    assert forked(in_child)
    right = new.open(shim.path)
    assert encrypt(right)[:4] == EXPECTED
    right.close()


@pytest.mark.parametrize("code", PIN_REFUSED)
def test_every_refusal_of_a_pin_is_final(token: Token, shim: Shim, new: softhsm.NewToken, code: int) -> None:
    token.close()
    shim.fail("Login", code)
    refused = Token(token.module, new.label, f"refused with {code}")
    for _ in range(3):
        with pytest.raises(HsmMisconfigured):
            encrypt(refused)
    assert shim.calls("Login") == 1


@pytest.mark.parametrize("flag", [cryptoki.CKF_USER_PIN_FINAL_TRY, cryptoki.CKF_USER_PIN_LOCKED])
def test_the_last_try_of_a_pin_is_not_taken(token: Token, shim: Shim, flag: int) -> None:
    token.close()
    shim.flag(flag)
    with pytest.raises(HsmMisconfigured, match="one try"):
        encrypt(token)
    assert shim.calls("Login") == 0
    shim.flag(0)
    assert encrypt(token)[:4] == EXPECTED, "once it was unlocked"


def test_a_token_that_is_not_there_is_unavailable(token: Token, shim: Shim, new: softhsm.NewToken) -> None:
    other = Token(token.module, "no such label", new.pin)
    with pytest.raises(HsmUnavailable):
        encrypt(other)
    assert shim.calls("Login") == 0


def test_a_token_that_comes_later_is_found(token: Token, shim: Shim) -> None:
    later = softhsm.new_token()
    opened = later.open(shim.path)
    assert encrypt(opened)[:4] == EXPECTED
    assert encrypt(token)[:4] == EXPECTED
    opened.close()


def test_a_token_taken_away_and_put_back(token: Token, shim: Shim, new: softhsm.NewToken) -> None:
    other = softhsm.new_token().open(shim.path)
    encrypt(other)
    shim.remove(new.label)
    try:
        for _ in range(3):
            with pytest.raises(HsmUnavailable):
                encrypt(token)
            assert encrypt(other)[:4] == EXPECTED
        assert shim.calls("Finalize") == 1
    finally:
        shim.put_back(new.label)
    assert encrypt(token)[:4] == EXPECTED
    assert encrypt(other)[:4] == EXPECTED
    other.close()


def test_a_lost_login(token: Token, shim: Shim) -> None:
    """Somebody else in the process calls C_Logout: SoftHSM2 destroys private session objects then."""
    module = ctypes.CDLL(shim.behind)
    token.call(lambda session: module.C_Logout(ctypes.c_ulong(session.handle)))
    assert encrypt(token)[:4] == EXPECTED
    assert shim.calls("Login") == 1


def test_a_library_that_somebody_finalized(token: Token, shim: Shim) -> None:
    assert ctypes.CDLL(shim.behind).C_Finalize(None) == 0
    assert encrypt(token)[:4] == EXPECTED
    assert shim.calls("Initialize") == 1


def test_a_library_that_somebody_initialized_again(token: Token) -> None:
    token.module.finalize()
    token.module.initialize()
    assert encrypt(token)[:4] == EXPECTED


def forked(work: Callable[[], bool]) -> bool:
    """Whether `work` is true in a forked child."""
    child = os.fork()
    if not child:
        passed = False
        try:
            passed = work()
        finally:
            os._exit(0 if passed else 1)
    return os.waitpid(child, 0)[1] == 0


def test_a_forked_child_connects_itself(token: Token, shim: Shim) -> None:
    def in_child() -> bool:
        return encrypt(token)[:4] == EXPECTED and shim.calls("Login") == 1 and forked(grandchild)

    def grandchild() -> bool:
        return encrypt(token)[:4] == EXPECTED

    assert forked(in_child)
    assert encrypt(token)[:4] == EXPECTED
    assert not any(shim.calls(function) for function in ENTERING), "the parent goes on as before"


def test_a_child_forked_while_threads_hold_locks(token: Token, shim: Shim) -> None:
    """None of the parent's locks, held at the time or not, is used in the child."""
    shim.delay("Encrypt", 300)
    library = sessions._library(token.module)
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        busy = [threads.submit(encrypt, token) for _ in range(2)]
        time.sleep(0.1)
        with library.changed:
            assert forked(lambda: encrypt(token)[:4] == EXPECTED)
        assert all(future.result()[:4] == EXPECTED for future in busy)


@pytest.mark.parametrize("reset_on_fork", ["true", "false"])
def test_fork_with_and_without_reset(tmp_path: Path, reset_on_fork: str) -> None:
    """SoftHSM2's own setting, in a process of its own, since it is read once."""
    made = softhsm.new_token(tmp_path, "forking")
    configuration = Path(made.configuration)
    text = configuration.read_text(encoding="utf-8")
    configuration.write_text(
        text.replace("reset_on_fork = true", f"reset_on_fork = {reset_on_fork}"), encoding="utf-8"
    )
    script = (
        "import os, sys\n"
        "from tests.hsm.test_sessions import EXPECTED, encrypt, forked\n"
        "from tests.hsm.softhsm import NewToken\n"
        f"token = NewToken({made.module!r}, {made.label!r}, {made.pin!r}, '').open()\n"
        "work = lambda: encrypt(token)[:4] == EXPECTED\n"
        "sys.exit(not (work() and forked(work) and forked(work) and work()))\n"
    )
    environment = {**os.environ, **made.environment, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=60)


def test_threads_that_come_and_go_leave_no_sessions(token: Token, shim: Shim) -> None:
    for _ in range(50):
        thread = threading.Thread(target=encrypt, args=(token,))
        thread.start()
        thread.join()
    assert shim.sessions == 2


def test_no_more_sessions_than_allowed(shim: Shim, new: softhsm.NewToken) -> None:
    shim.reset()
    token = Token(cryptoki.load(shim.path), new.label, new.pin, session_limit=3)
    shim.delay("Encrypt", 5)
    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        made = list(threads.map(lambda _: encrypt(token)[:4], range(60)))
    assert made == [EXPECTED] * 60
    assert shim.sessions == 4
    token.close()
    assert shim.sessions == 0


def test_waiting_for_a_session_ends(shim: Shim, new: softhsm.NewToken) -> None:
    shim.reset()
    token = Token(cryptoki.load(shim.path), new.label, new.pin, session_limit=1, wait_seconds=0.5)

    def nested(session: Session) -> float:
        begin = time.monotonic()
        with pytest.raises(HsmUnavailable, match="in use"):
            encrypt(token)
        return time.monotonic() - begin

    assert 0.5 <= token.call(nested) < 2
    assert encrypt(token)[:4] == EXPECTED
    token.close()


def test_token_objects_are_one_threads_at_a_time(shim: Shim, new: softhsm.NewToken) -> None:
    """And it is not waited for for ever; another token, and a forked child, have nothing to do with it."""
    token, other = (Token(cryptoki.load(shim.path), new.label, new.pin, wait_seconds=0.2) for _ in range(2))

    def enter() -> bool:
        with token.inventory():
            return True

    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        with token.inventory(), other.inventory():
            with pytest.raises(HsmUnavailable, match="does not answer"):
                threads.submit(enter).result()
            assert forked(enter)
        assert threads.submit(enter).result()


def test_a_call_that_hangs_while_connecting_holds_others_up_for_a_limited_time(
    shim: Shim, new: softhsm.NewToken
) -> None:
    shim.reset()
    token = Token(cryptoki.load(shim.path), new.label, new.pin, wait_seconds=0.5)
    shim.delay("Login", 3000)
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(encrypt, token)
        time.sleep(0.2)
        begin = time.monotonic()
        with pytest.raises(HsmUnavailable, match="does not answer"):
            encrypt(token)
        assert time.monotonic() - begin < 2
        assert hanging.result()[:4] == EXPECTED
    token.close()


def test_no_finalize_while_somebody_is_inside(token: Token, shim: Shim) -> None:
    """What happens then is undefined: the lost connection must do without, and nobody waits long."""
    shim.delay("Sign", 2000)

    def slow(session: Session) -> bytes:
        template: Attributes = {
            cryptoki.CKA_CLASS: cryptoki.CKO_SECRET_KEY,
            cryptoki.CKA_KEY_TYPE: cryptoki.CKK_GENERIC_SECRET,
            cryptoki.CKA_SIGN: True,
            cryptoki.CKA_VALUE: bytes(32),
        }
        with token.handle("mac", lambda keeper: keeper.create_object(template)) as handle:
            return session.sign(Mechanism(cryptoki.CKM_SHA256_HMAC), handle, b"")

    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        slow_one = threads.submit(token.call, slow)
        time.sleep(0.3)
        shim.fail("Encrypt", cryptoki.CKR_DEVICE_ERROR)
        begin = time.monotonic()
        assert encrypt(token)[:4] == EXPECTED
        assert time.monotonic() - begin < 1.5
        assert shim.calls("Finalize") == 0
        assert not slow_one.done()
        assert len(slow_one.result()) == 32, "whose session is good to its end"
    assert shim.sessions == 2, "and then closed"


def test_threads_that_lose_a_connection_together_make_one(token: Token, shim: Shim) -> None:
    together = threading.Barrier(8)

    def work(_: int) -> bool:
        together.wait()
        return all(encrypt(token, value % 3) for value in range(50))

    shim.fail("Encrypt", cryptoki.CKR_SESSION_HANDLE_INVALID, skip=100)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(8)))
    assert shim.calls("Login") == 1
    assert sessions._library(token.module).users == 0


@pytest.mark.parametrize("code", [0xB3, 0x101, 0x190, 0x30, 0x32])
def test_no_request_fails_while_connections_do(token: Token, shim: Shim, code: int) -> None:
    """Six threads, and a fault whenever all have got over the last one. Each result is of the right key."""
    expected = [encrypt(token, value) for value in range(4)]
    done, stop = [0] * 6, threading.Event()

    def work(number: int) -> None:
        while not stop.is_set():
            assert encrypt(token, done[number] % 4) == expected[done[number] % 4]
            done[number] += 1

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        running = [threads.submit(work, number) for number in range(6)]
        for _ in range(5):
            may_initialize(token)
            shim.fail("Encrypt", code)
            for more in (1, 3):  # the fault is somebody's, and he got over it
                wanted = [count + more for count in done]
                end = time.monotonic() + 20
                while any(count < enough for count, enough in zip(done, wanted, strict=True)):
                    assert time.monotonic() < end
                    time.sleep(0.002)
        stop.set()
        for future in running:
            future.result()
    assert shim.calls("Login") == 5
    assert sessions._library(token.module).users == 0


def test_threads_that_lose_the_library_together_initialize_it_once(token: Token, shim: Shim) -> None:
    together = threading.Barrier(8)

    def operation(session: Session) -> bytes:
        with token.handle(("known", 0), known(0)) as handle:
            together.wait(10)
            return session.encrypt(Mechanism.gcm(IV, b""), handle, bytes(4))

    shim.fail("Encrypt", cryptoki.CKR_CRYPTOKI_NOT_INITIALIZED, times=8)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: token.call(operation)[:4], range(8)))
    assert made == [EXPECTED] * 8
    assert shim.calls("Initialize") == shim.calls("Login") == 1
    library = sessions._library(token.module)
    library.start_again(library.epoch - 1, cryptoki.CKR_CRYPTOKI_NOT_INITIALIZED)
    assert shim.calls("Initialize") == 1, "whoever comes late finds it done"


def test_numbers_of_an_ended_library_are_not_used(shim: Shim, new: softhsm.NewToken) -> None:
    """After C_Initialize SoftHSM2 counts from 1 again, so that the numbers that one token had are now the other's."""
    first, second = softhsm.new_token().open(shim.path), new.open(shim.path)
    may_initialize(second)
    shim.fail("GetSlotList", cryptoki.CKR_DEVICE_ERROR)
    expected = encrypt(first, 1)
    other = encrypt(second, 2)
    may_initialize(second)
    shim.fail("Encrypt", cryptoki.CKR_DEVICE_ERROR)
    assert encrypt(second, 2) == other
    assert encrypt(first, 1) == expected
    first.close()
    second.close()


def test_two_tokens_of_a_library_lose_no_request(token: Token, shim: Shim, new: softhsm.NewToken) -> None:
    """One is taken away under load, and the library initialized again: the other's requests all succeed."""
    other = softhsm.new_token().open(shim.path)
    stop = threading.Event()

    def work() -> int:
        count = 0
        while not stop.is_set():
            assert encrypt(other)[:4] == EXPECTED
            count += 1
        return count

    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        running = [threads.submit(work) for _ in range(3)]
        time.sleep(0.1)
        shim.remove(new.label)
        for _ in range(4):
            may_initialize(token)
            with pytest.raises(HsmUnavailable):
                encrypt(token)
        shim.put_back(new.label)
        assert encrypt(token)[:4] == EXPECTED
        stop.set()
        assert all(future.result() > 10 for future in running)
    assert shim.calls("Finalize") >= 4
    other.close()


def test_a_handle_is_made_once(token: Token) -> None:
    made = []
    together = threading.Barrier(4)

    def counted(keeper: Session) -> int:
        made.append(keeper)
        time.sleep(0.05)
        return make(keeper)

    def operation(session: Session) -> int:
        assert all(keeper is not session for keeper in made), "session objects die with the keeper only"
        together.wait(10)
        with token.handle("key", counted) as handle:
            return handle

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        handles = set(threads.map(lambda _: token.call(operation), range(20)))
    assert len(handles) == len(made) == 1


def test_a_handle_is_made_again_on_another_connection(token: Token, shim: Shim) -> None:
    """Numbers begin again with the library, so an old one might be another key's."""
    made = []

    def counted(keeper: Session) -> int:
        made.append(keeper)
        return make(keeper)

    def operation(session: Session) -> int:
        with token.handle("key", counted) as handle:
            session.encrypt(Mechanism.gcm(IV, b""), handle, b"")
            return handle

    token.call(operation)
    token.call(operation)
    assert len(made) == 1
    for count, code in enumerate((0xB3, 0x190), 2):
        shim.fail("Encrypt", code)
        token.call(operation)
        assert len(made) == count


def test_a_handle_is_made_of_handles(token: Token) -> None:
    """A wrapped key is unwrapped by a cached key, both by the keeper."""
    wrapping: Attributes = {
        **KNOWN,
        cryptoki.CKA_WRAP: True,
        cryptoki.CKA_UNWRAP: True,
        cryptoki.CKA_VALUE: bytes(32),
    }
    mechanism = Mechanism(cryptoki.CKM_AES_KEY_WRAP_PAD)

    def unwrap(keeper: Session) -> int:
        with token.handle("outer", lambda keeper: keeper.create_object(wrapping)) as outer:
            value: Attributes = {cryptoki.CKA_VALUE: bytes([7]) * 32, cryptoki.CKA_EXTRACTABLE: True}
            inner = keeper.create_object({**KNOWN, **value})
            wrapped = keeper.wrap_key(mechanism, outer, inner)
            return keeper.unwrap_key(mechanism, outer, wrapped, KNOWN)

    def operation(session: Session) -> bytes:
        with token.handle("inner", unwrap) as handle:
            return session.encrypt(Mechanism.gcm(IV, b""), handle, bytes(4))

    assert token.call(operation) == encrypt(token, 7)


def test_the_least_recently_used_object_goes(shim: Shim, new: softhsm.NewToken) -> None:
    shim.reset()
    token = Token(cryptoki.load(shim.path), new.label, new.pin, handle_limit=3)
    for value in (1, 2, 3, 1, 4):
        encrypt(token, value)
    assert shim.objects == 3
    before = shim.calls("CreateObject")
    for value in (1, 3, 4):
        encrypt(token, value)
    assert shim.calls("CreateObject") == before
    encrypt(token, 2)
    assert shim.calls("CreateObject") == before + 1
    token.close()
    assert shim.objects == 0


def test_an_object_in_use_stays(shim: Shim, new: softhsm.NewToken) -> None:
    shim.reset()
    token = Token(cryptoki.load(shim.path), new.label, new.pin, handle_limit=1)
    expected = encrypt(token, 1)

    def operation(session: Session) -> bytes:
        with token.handle(("known", 1), known(1)) as handle:
            for value in (2, 3, 4):
                encrypt(token, value)
            assert shim.objects == 2, "the one in use, and the one that is cached"
            return session.encrypt(Mechanism.gcm(IV, b""), handle, bytes(4))

    assert token.call(operation) == expected
    encrypt(token, 5)
    assert shim.objects == 1
    token.close()


def test_token_objects_are_never_destroyed(shim: Shim, new: softhsm.NewToken) -> None:
    """A domain key may be cached, and evicted, like anything else."""
    shim.reset()
    token = Token(cryptoki.load(shim.path), new.label, new.pin, handle_limit=1)
    stored: Attributes = {
        **KNOWN,
        cryptoki.CKA_TOKEN: True,
        cryptoki.CKA_LABEL: b"stored",
        cryptoki.CKA_VALUE: bytes(32),
    }

    def operation(session: Session) -> None:
        for key in ("stored", "another"):
            with token.handle(key, lambda keeper: keeper.create_object(stored)):
                pass
        with token.handle("session object", make):
            pass

    token.call(operation)
    encrypt(token)
    found = token.call(lambda session: session.find_objects({cryptoki.CKA_LABEL: b"stored"}))
    assert len(found) == 2

    def destroy(session: Session) -> None:
        for handle in found:
            session.destroy_object(handle)

    token.call(destroy)
    token.close()


def test_a_handle_is_for_operations(token: Token) -> None:
    with pytest.raises(RuntimeError):
        token.handle("key", make)


def test_what_cannot_be_made_is_not_cached(token: Token, shim: Shim) -> None:
    def operation(session: Session) -> None:
        with token.handle("bad", lambda keeper: keeper.create_object({})):
            pass

    for _ in range(2):
        with pytest.raises(CryptokiError):
            token.call(operation)
    assert encrypt(token)[:4] == EXPECTED


def test_errors_of_ours_leave_the_session_open(token: Token, shim: Shim) -> None:
    def operation(session: Session) -> None:
        raise Damaged

    with pytest.raises(Damaged):
        token.call(operation)
    shim.fail("Encrypt", cryptoki.CKR_ENCRYPTED_DATA_INVALID)
    with pytest.raises(CryptokiError):
        encrypt(token)
    encrypt(token)
    assert shim.calls("OpenSession") == shim.calls("CloseSession") == 0


def test_a_session_in_doubt_is_closed(token: Token, shim: Shim) -> None:
    """An operation that an exception left half done would meet the next user."""

    def operation(session: Session) -> None:
        with token.handle("key", make) as handle:
            session._encrypt_init(session.handle, Mechanism.gcm(IV, b"").reference, handle)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        token.call(operation)
    assert encrypt(token)[:4] == EXPECTED
    assert shim.calls("OpenSession") == shim.calls("CloseSession") == 1


def test_it_lists_mechanisms(token: Token) -> None:
    assert cryptoki.CKM_AES_GCM in token.mechanisms()
    assert 0x80001087 not in token.mechanisms()


def test_a_closed_token_opens_again(token: Token, shim: Shim) -> None:
    token.close()
    token.close()
    assert shim.sessions == 0
    assert encrypt(token)[:4] == EXPECTED


def test_cloudhsm_wants_a_user_in_the_pin(new: softhsm.NewToken) -> None:
    shim = Shim(cloudhsm=True)
    without = Token(cryptoki.load(shim.path), new.label, new.pin)
    with pytest.raises(HsmMisconfigured):
        without.mechanisms()
    token = Token(cryptoki.load(shim.path), new.label, f"{USER}:{new.pin}")
    assert 0x80001087 in token.mechanisms()
    token.close()
