"""Policies and requests in few words."""

import json
from typing import Any

from chalicelib.policy.decide import decide
from chalicelib.policy.document import Policy, parse
from chalicelib.policy.request import Request

OWNER = "100000000001"
USER = "100000000002"
KEY = f"qcs::kms:ap-guangzhou:uin/{OWNER}:key/creatorUin/{USER}/k1"
SECRET = f"qcs::ssm:ap-guangzhou:uin/{OWNER}:secret/creatorUin/{USER}/db"


def statement(effect: str = "allow", **members: Any) -> dict[str, Any]:
    return {"effect": effect, "action": "*", "resource": "*", **members}


def text(*statements: dict[str, Any], version: str = "2.0") -> str:
    return json.dumps({"version": version, "statement": list(statements)})


def policy(*statements: dict[str, Any], name: str = "P", trust: bool = False) -> Policy:
    return parse(text(*statements), name=name, trust=trust)


def request(action: str = "kms:Decrypt", resource: str = KEY, **members: Any) -> Request:
    return Request(action, resource, **{"uin": USER, "owner_uin": OWNER, **members})


def allowed(*statements: dict[str, Any], asked: Request | None = None) -> bool:
    return decide([policy(*statements)], asked or request()).allowed
