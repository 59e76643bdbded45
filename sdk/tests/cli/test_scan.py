"""`keystead scan`: what is found, that nothing of it is shown, and where it goes."""

import base64
import json
import os
import secrets
import string
from pathlib import Path
from typing import Any

import pytest
from chalicelib import ids
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from shamir_mnemonic import generate_mnemonics

from keystead.cli.exits import Exit

from ..client.servers import KeysteadServer
from .terminal import CommandLine, Ran

LETTERS = string.ascii_letters + string.digits


def random_text(length: int) -> str:
    """Letters and digits, some of each."""
    while True:
        made = "".join(secrets.choice(LETTERS) for _ in range(length))
        if sum(map(str.isdigit, made)) > 1 and sum(map(str.islower, made)) > 1:
            return made


@pytest.fixture(scope="session")
def rule_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiling the catalogue takes seconds: once is enough."""
    return tmp_path_factory.mktemp("rules")


@pytest.fixture
def line(line: CommandLine, rule_cache: Path) -> CommandLine:
    line.environment["KF_RULE_CACHE_DIR"] = str(rule_cache)
    return line


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    return made


class Planted:
    """Files with secrets that nobody has, and what they are."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.values: list[str] = []

    def secret(self, length: int = 32) -> str:
        self.values.append(random_text(length))
        return self.values[-1]

    def write(self, name: str, text: str) -> None:
        place = self.tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


@pytest.fixture
def planted(tree: Path) -> Planted:
    return Planted(tree)


def scan(line: CommandLine, *arguments: Any) -> Ran:
    return line("scan", *map(str, arguments))


def kinds(ran: Ran) -> list[tuple[str, int, str]]:
    assert ran.code == Exit.REFUSED, ran.err
    return [(Path(each["File"]).name, each["Line"], each["Kind"]) for each in json.loads(ran.out)]


def test_keys_of_tencent_cloud_and_of_keystead(line: CommandLine, planted: Planted, tree: Path) -> None:
    pair = f'Credential("{ids.secret_id()}", "{planted.secret()}")\n'
    planted.write("a.py", f'import x\nSECRET_KEY = "{planted.secret()}"\n')
    planted.write("b.py", pair)
    planted.write(
        "credentials", f"[default]\nsecret_id = {ids.secret_id()}\nsecret_key = {planted.secret()}\n"
    )
    planted.write(
        "c.json", json.dumps({"secretId": ids.temporary_secret_id(), "secretKey": planted.secret()})
    )
    planted.write("unit", f"Environment=KEYSTEAD_SEAL_PASSPHRASE={planted.secret(12)}\n")
    (share,) = generate_mnemonics(1, [(1, 1)], secrets.token_bytes(32))[0]
    planted.write("share.txt", share + "\n")
    ran = scan(line, tree)
    assert kinds(ran) == [
        ("a.py", 2, "tencent-secret-key"),
        ("b.py", 1, "tencent-secret-id"),
        ("b.py", 1, "tencent-key-pair"),
        ("c.json", 1, "tencent-secret-id"),
        ("c.json", 1, "tencent-secret-key"),
        ("credentials", 2, "tencent-secret-id"),
        ("credentials", 3, "tencent-secret-key"),
        ("share.txt", 1, "backup-key-share"),
        ("unit", 1, "keystead-setting"),
    ]
    shown = ran.out + ran.err
    assert not [each for each in planted.values if each in shown or each[:6] in shown or each[-6:] in shown]
    assert share.split()[9] not in shown


def test_secrets_of_others_and_passwords(line: CommandLine, planted: Planted, tree: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    planted.write("key.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    planted.write("ci.yml", f"token: ghp_{planted.secret(36)}\n")
    planted.write("db.py", f'\n\npassword = "{planted.secret(20)}"\n')
    planted.write("app.ini", f"[db]\ndb_password = {planted.secret(20)}\n")
    planted.write("uri.toml", f'url = "postgres://app:{planted.secret(20)}@db.internal:5432/app"\n')
    found = kinds(scan(line, tree))
    assert ("key.pem", 1, "private-key") in found
    assert ("ci.yml", 1, "github-pat") in found
    assert ("db.py", 3, "quoted-password") in found
    assert ("app.ini", 2, "password-setting") in found
    assert ("uri.toml", 1, "generic-credential-uri") in found
    assert len(found) == 5


def test_what_is_no_secret_is_not_found(line: CommandLine, planted: Planted, tree: Path) -> None:
    planted.write("a.py", 'password = "changeme-1"\npassword = os.environ["PASSWORD1"]\ntoken = ""\n')
    planted.write("b.py", f'KEY = "{random_text(32)}"\nurl = "https://example.com/a1b2c3d4e5f6"\n')
    planted.write("c.env", "PASSWORD=keystead:db-password\nTOKEN=${TOKEN_9}\nSECRET_NAME=db\n")
    planted.write("d.md", "A password has letters and digits. The token is secret.\n" * 40)
    ran = scan(line, tree)
    assert (ran.code, json.loads(ran.out)) == (Exit.OK, [])
    assert "no secrets in 4 files" in ran.err


def test_a_comment_says_that_it_is_none(line: CommandLine, planted: Planted, tree: Path) -> None:
    planted.write("a.py", f'SECRET_KEY = "{planted.secret()}"  # keystead:ignore\n')
    assert scan(line, tree).code == Exit.OK


def test_what_git_ignores_is_left_alone_unless_asked(line: CommandLine, planted: Planted, tree: Path) -> None:
    planted.write(".gitignore", ".env\nbuild/\n")
    (tree / ".git").mkdir()
    planted.write(".git/config", f"token = {planted.secret(30)}\n")
    planted.write(".env", f"SECRET_KEY={planted.secret()}\n")
    planted.write("build/x.env", f"SECRET_KEY={planted.secret()}\n")
    planted.write("sub/build/x.env", f"SECRET_KEY={planted.secret()}\n")
    assert scan(line, tree).code == Exit.OK
    assert scan(line, tree / "sub").code == Exit.OK
    assert [name for name, _, _ in kinds(scan(line, tree, "--ignored"))] == [".env", "x.env", "x.env"]
    assert kinds(scan(line, tree / ".env"))  # named itself


def test_hidden_files_count_and_links_are_not_followed(
    line: CommandLine, planted: Planted, tree: Path
) -> None:
    planted.write("../outside", f"SECRET_KEY={planted.secret()}\n")
    (tree / "link").symlink_to("../outside")
    assert scan(line, tree).code == Exit.OK
    planted.write(".npmrc", f"SECRET_KEY={planted.secret()}\n")
    assert [name for name, _, _ in kinds(scan(line, tree, tree, tree / ".npmrc"))] == [".npmrc"]


def test_what_is_neither_file_nor_folder_is_told(line: CommandLine, tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    ran = scan(line, tree / "pipe")
    assert ran.code == Exit.REFUSED
    assert "pipe is neither" in ran.err


def test_nothing_to_reach_is_needed(line: CommandLine, planted: Planted, tree: Path) -> None:
    planted.write("a.py", f'SECRET_KEY = "{planted.secret()}"\n')
    line.environment |= dict.fromkeys(line.environment, None) | {
        "HOME": line.environment["HOME"],
        "KF_RULE_CACHE_DIR": line.environment["KF_RULE_CACHE_DIR"],
    }
    assert scan(line, tree).code == Exit.REFUSED
    assert scan(line, tree / "absent").code == Exit.USAGE


def test_secrets_are_stored_once_and_referred_to(
    line: CommandLine, planted: Planted, tree: Path, keystead: KeysteadServer
) -> None:
    key, password = planted.secret(), planted.secret(20)
    planted.write("a.env", f"SECRET_KEY={key}\nDB_PASSWORD={password}\n")
    planted.write("b.py", f'SECRET_KEY = "{key}"\n')
    ran = scan(line, tree, "--store", "shop")
    assert ran.code == Exit.REFUSED  # they still stand in the files
    references = [each["Reference"] for each in json.loads(ran.out)]
    assert references == ["keystead:shop-a-env-1", "keystead:shop-a-env-2", "keystead:shop-a-env-1"]
    held = keystead.ssm("GetSecretValue", SecretName="shop-a-env-2", VersionId="SSM_Current")
    assert held["SecretString"] == password
    assert not [each for each in planted.values if each in ran.out + ran.err]
    assert (tree / "a.env").read_text().startswith(f"SECRET_KEY={key}")

    again = scan(line, tree, "--store", "shop")
    assert [each["Reference"] for each in json.loads(again.out)] == references
    planted.write("a.env", f"SECRET_KEY={planted.secret()}\n")
    other = scan(line, tree / "a.env", "--store", "shop")
    assert [each["Reference"] for each in json.loads(other.out)] == ["keystead:shop-a-env-1-2"]


def test_a_reference_is_what_run_takes(line: CommandLine, planted: Planted, tree: Path) -> None:
    planted.write("a.env", f"DB_PASSWORD={planted.secret(20)}\n")
    (found,) = json.loads(scan(line, tree, "--store", "shop").out)
    planted.write("a.env", f"DB_PASSWORD={found['Reference']}\n")
    assert scan(line, tree).code == Exit.OK
    ran = line.process("run", "--env-file", str(tree / "a.env"), "--", "sh", "-c", 'printf %s "$DB_PASSWORD"')
    assert ran.out == planted.values[0]


def test_what_cannot_be_stored_is_said(
    line: CommandLine, planted: Planted, tree: Path, keystead: KeysteadServer
) -> None:
    planted.write("a.env", f"DB_PASSWORD={planted.secret(20)}\n")
    planted.write("b.txt", base64.b64encode(f"x ghp_{planted.secret(36)} y".encode()).decode() + "\n")
    who = keystead.installation.add_user("alice")
    line.environment |= {"TENCENTCLOUD_SECRET_ID": who.secret_id, "TENCENTCLOUD_SECRET_KEY": who.secret_key}
    ran = scan(line, tree, "--store", "shop")
    assert [each["Reference"] for each in json.loads(ran.out)] == ["-", "-"]
    assert "a.env:1 was not stored" in ran.err
    assert "b.txt:1 is in base64" in ran.err
    assert scan(line, tree, "--store", "no spaces").code == Exit.USAGE


def test_what_is_not_utf_8_is_not_stored_as_something_else(
    line: CommandLine, planted: Planted, tree: Path, keystead: KeysteadServer
) -> None:
    text = f'password = "\xe9{planted.secret(20)}"\n'
    (tree / "a.py").write_bytes(text.encode("latin-1"))
    ran = scan(line, tree, "--store", "shop")
    assert [each["Reference"] for each in json.loads(ran.out)] == ["-"]
    assert "store it yourself" in ran.err
    assert keystead.calls["CreateSecret"] == 0


def test_on_a_terminal_each_is_asked_for(
    line: CommandLine, planted: Planted, tree: Path, keystead: KeysteadServer
) -> None:
    key, password = planted.secret(), planted.secret(20)
    planted.write("a.env", f"SECRET_KEY={key}\nDB_PASSWORD={password}\n")
    ran = line.on_terminal(
        "scan", str(tree), typed=(("a.env:1: store as", "-\r"), ("a.env:2: store as", "db\r"))
    )
    assert ran.code == Exit.REFUSED
    assert "keystead:db" in ran.out
    assert not [each for each in planted.values if each in ran.out]
    held = keystead.ssm("GetSecretValue", SecretName="db", VersionId="SSM_Current")
    assert held["SecretString"] == password
    assert keystead.calls["CreateSecret"] == 1


def test_names_of_files_cannot_steer_a_terminal(line: CommandLine, planted: Planted, tree: Path) -> None:
    planted.write("a\x1b[2Jb.env", f"SECRET_KEY={planted.secret()}\n")
    ran = line("--output", "table", "scan", str(tree))
    assert "\x1b" not in ran.out + ran.err


def test_the_scanner_talks_to_nobody(line: CommandLine, planted: Planted, tree: Path) -> None:
    """In a process where every socket is refused."""
    planted.write("a.env", f"SECRET_KEY={planted.secret()}\n")
    guard = tree.parent / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(
        "import sys\n"
        "def hook(event, args):\n"
        "    if event.startswith('socket.'):\n"
        "        raise RuntimeError('a socket')\n"
        "sys.addaudithook(hook)\n"
    )
    line.environment["PYTHONPATH"] = str(guard)
    assert line.process("scan", str(tree)).code == Exit.REFUSED
