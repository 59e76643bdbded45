"""`keystead policy` against a whole Keystead."""

import json
from pathlib import Path
from typing import Any

from keystead.cli.exits import Exit

from ..client.servers import KeysteadServer
from .terminal import CommandLine

DOCUMENT: dict[str, Any] = {
    "version": "2.0",
    "statement": [{"effect": "allow", "action": ["ssm:GetSecretValue"], "resource": ["*"]}],
}


def create(line: CommandLine, name: str = "readers") -> int:
    made = line("policy", "create", name, "--document", "-", stdin=json.dumps(DOCUMENT)).json()
    number: int = made["PolicyId"]
    return number


def test_a_policy_is_created_listed_shown_and_deleted(line: CommandLine) -> None:
    number = create(line)
    assert [each["PolicyName"] for each in line("policy", "list", "--scope", "own").json()] == ["readers"]
    shown = line("policy", "get", "readers").json()
    assert shown["PolicyId"] == number
    assert shown["PolicyDocument"] == DOCUMENT
    assert json.loads(line("policy", "get", str(number), "--document").out) == DOCUMENT
    assert line("policy", "delete", "readers").code == Exit.USAGE
    assert line("policy", "delete", "readers", "--yes").json()["PolicyId"]
    assert line("policy", "get", "readers").code == Exit.NOT_FOUND


def test_lists_go_on_over_pages_and_end_at_the_limit(line: CommandLine, keystead: KeysteadServer) -> None:
    for n in range(103):
        create(line, f"policy-{n}")
    assert len(line("policy", "list", "--scope", "own").json()) == 103
    assert len(line("policy", "list", "--scope", "own", "--limit", "101").json()) == 101
    before = keystead.calls["ListPolicies"]
    assert len(line("policy", "list", "--limit", "2").json()) == 2
    assert keystead.calls["ListPolicies"] == before + 1


def test_preset_policies_have_names_too(line: CommandLine) -> None:
    presets = line("policy", "list", "--scope", "preset").json()
    name = presets[0]["PolicyName"]
    assert line("policy", "get", name).json()["PolicyId"] == presets[0]["PolicyId"]


def test_a_policy_is_attached_to_users_groups_and_roles_and_taken_back(
    line: CommandLine, keystead: KeysteadServer
) -> None:
    create(line)
    keystead.installation.add_user("alice")
    trust = {
        "version": "2.0",
        "statement": [
            {
                "effect": "allow",
                "action": ["name/sts:AssumeRole"],
                "principal": {"qcs": [f"qcs::cam::uin/{keystead.installation.root.uin}:root"]},
            }
        ],
    }
    cam = keystead.installation.client("cam")
    cam.CreateGroup(GroupName="staff")
    cam.CreateRole(RoleName="job", PolicyDocument=json.dumps(trust))
    whom = (("--user", "alice"), ("--group", "staff"), ("--role", "job"))
    for each in whom:
        assert line("policy", "attach", "readers", *each).json()["PolicyId"]
    attached = line("policy", "get", "readers").json()["AttachedTo"]
    assert sorted(attached) == ["group staff", "role job", "user alice"]
    assert line("user", "get", "alice").json()["Policies"] == ["readers"]
    for each in whom:
        assert line("policy", "detach", "readers", *each).code == Exit.OK
    assert line("policy", "get", "readers").json()["AttachedTo"] == []


def test_one_principal_has_to_be_named(line: CommandLine) -> None:
    create(line)
    assert line("policy", "attach", "readers").code == Exit.USAGE
    assert line("policy", "attach", "readers", "--user", "a", "--role", "b").code == Exit.USAGE
    assert line("policy", "attach", "readers", "--group", "nobody").code == Exit.NOT_FOUND
    assert line("policy", "attach", "nothing", "--user", "nobody").code == Exit.NOT_FOUND


def test_simulation_tells_who_may_what(line: CommandLine, keystead: KeysteadServer, tmp_path: Path) -> None:
    create(line)
    keystead.installation.add_user("alice")
    ran = line("policy", "simulate", "ssm:GetSecretValue", "--user", "alice")
    assert (ran.code, json.loads(ran.out)["Decision"]) == (Exit.DENIED, "deny")
    line("policy", "attach", "readers", "--user", "alice")
    allowed = line("policy", "simulate", "ssm:GetSecretValue", "--user", "alice").json()
    assert (allowed["Decision"], allowed["PolicyName"]) == ("allow", "readers")
    assert line("policy", "simulate", "ssm:DeleteSecret", "--user", "alice").code == Exit.DENIED
    more = tmp_path / "more.json"
    more.write_text(json.dumps(DOCUMENT).replace("GetSecretValue", "DeleteSecret"))
    as_if = line("policy", "simulate", "ssm:DeleteSecret", "--user", "alice", "--document", str(more))
    assert as_if.json()["Decision"] == "allow"


def test_a_document_that_is_no_json_is_refused_with_its_line(line: CommandLine) -> None:
    ran = line("policy", "create", "bad", "--document", "-", stdin='{\n"version": }')
    assert ran.code == Exit.USAGE
    assert "line 2" in ran.err
    for text in ("[" * 100_000, "\udcff".encode("utf-8", "surrogateescape")):
        ran = line("policy", "create", "bad", "--document", "-", stdin=text)
        assert ran.code == Exit.USAGE
        assert len(ran.err) < 100
