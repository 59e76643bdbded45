"""Give a program a key of its own, for one secret: start `make run`, then run this in another terminal.

    pip install tencentcloud-sdk-python-cam tencentcloud-sdk-python-ssm
    python examples/access.py

It makes two secrets and a user, lets the user read one of them from this machine, shows what is refused and why, and
takes it all away again.
"""
# ruff: noqa: INP001, T201, TID251 - a script to copy from: it prints, and it reads its own environment

import configparser
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from tencentcloud.cam.v20190116.cam_client import CamClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.ssm.v20190923.ssm_client import SsmClient

MARK = secrets.token_hex(4)


def main() -> None:
    """Connect as root, hand out a key, and use it."""
    path = Path(os.environ.get("KEYSTEAD_HOME", ".keystead")) / "credentials"
    ini = configparser.ConfigParser(interpolation=None)
    if not ini.read(path):
        sys.exit(f"{path} is not there: start `make run` first, in this directory")
    root = ini["default"]
    region, endpoint = root["regions"].split(",")[0], f"127.0.0.1:{os.environ.get('PORT', '8000')}"
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=endpoint))
    owner = Credential(root["secret_id"], root["secret_key"])
    cam, ssm = CamClient(owner, "", profile), SsmClient(owner, region, profile)
    mine, other = f"access-{MARK}-mine", f"access-{MARK}-other"
    for name in (mine, other):
        call(ssm, "CreateSecret", SecretName=name, VersionId="v1", SecretString=f"value of {name}")

    user = call(cam, "AddUser", Name=f"reader-{MARK}", UseApi=1)
    document = {
        "version": "2.0",
        "statement": [
            {
                "effect": "allow",
                "action": "ssm:GetSecretValue",
                "resource": f"qcs::ssm:{region}:uin/{root['uin']}:secret/creatorUin/{root['uin']}/{mine}",
                "condition": {"ip_equal": {"qcs:ip": ["127.0.0.0/8"]}},
            }
        ],
    }
    policy = call(cam, "CreatePolicy", PolicyName=f"read-{MARK}", PolicyDocument=json.dumps(document))[
        "PolicyId"
    ]
    call(cam, "AttachUserPolicy", AttachUin=user["Uin"], PolicyId=policy)
    print(f"user {user['Name']} may read {mine} from this machine")

    reader = SsmClient(Credential(user["SecretId"], user["SecretKey"]), region, profile)
    print(f"it reads {read(reader, mine)!r}")
    print(f"the other secret: {read(reader, other)}")

    call(cam, "DeleteUser", Name=user["Name"], Force=1)
    call(cam, "DeletePolicy", PolicyId=[policy])
    for name in (mine, other):
        call(ssm, "DisableSecret", SecretName=name)
        call(ssm, "DeleteSecret", SecretName=name, RecoveryWindowInDays=0)
    print("the user, its key and the policy are gone; the key stops working within 10 seconds")


def read(client: Any, name: str) -> str:
    """A secret's value, or how it was refused."""
    try:
        return str(call(client, "GetSecretValue", SecretName=name, VersionId="v1")["SecretString"])
    except TencentCloudSDKException as error:
        return f"{error.get_code()}: {error.get_message()}"


def call(client: Any, action: str, **parameters: Any) -> dict[str, Any]:
    """Call an action; the answer's members."""
    response: dict[str, Any] = client.call_json(action, parameters)["Response"]
    return response


if __name__ == "__main__":
    main()
