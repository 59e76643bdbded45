"""A tour of Keystead with the official Tencent Cloud SDK: start `make run`, then run this in another terminal.

    pip install tencentcloud-sdk-python-kms tencentcloud-sdk-python-ssm
    python examples/quickstart.py

Run it as often as you like, also after a restart of the server: it goes on with what is there.
"""
# ruff: noqa: INP001, T201, TID251 - a script to copy from: it prints, and it reads its own environment

import argparse
import base64
import configparser
import json
import os
from pathlib import Path
from typing import Any

from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.kms.v20190118 import models as kms_models
from tencentcloud.kms.v20190118.kms_client import KmsClient
from tencentcloud.ssm.v20190923 import models as ssm_models
from tencentcloud.ssm.v20190923.ssm_client import SsmClient

NAME = "quickstart"
CONTEXT = json.dumps({"app": "quickstart"})
KEPT_VERSIONS = 3


def main() -> None:
    """Connect, then show the two services."""
    credential, region, endpoint, protocol = connection()
    profile = ClientProfile(httpProfile=HttpProfile(protocol=protocol, endpoint=endpoint))
    kms = KmsClient(credential, region, profile)
    ssm = SsmClient(credential, region, profile)
    print(f"Keystead at {protocol}://{endpoint}, region {region}")
    key_id, blob = use_kms(kms)
    use_secrets_manager(ssm, kms, key_id, blob)


def connection() -> tuple[Credential, str, str, str]:
    """The access key, region, host and scheme: from the options, or what `make run` left behind."""
    home = Path(os.environ.get("KEYSTEAD_HOME", ".keystead"))
    parser = argparse.ArgumentParser(description="A tour of Keystead with the official SDK.")
    parser.add_argument("--endpoint", default=f"http://127.0.0.1:{os.environ.get('PORT', '8000')}")
    parser.add_argument("--region", default="", help="default: the installation's first")
    parser.add_argument(
        "--credentials",
        type=Path,
        default=home / "credentials",
        help="the file that the server's first start wrote; where there is none, TENCENTCLOUD_SECRET_ID and"
        " TENCENTCLOUD_SECRET_KEY count",
    )
    options = parser.parse_args()
    protocol, _, host = options.endpoint.rpartition("://")
    ini = configparser.ConfigParser(interpolation=None)
    if ini.read(options.credentials):
        found = ini["default"]
        credential = Credential(found["secret_id"], found["secret_key"])
        region = found["regions"].split(",")[0]
    elif {"TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY"} <= set(os.environ):
        credential = Credential(os.environ["TENCENTCLOUD_SECRET_ID"], os.environ["TENCENTCLOUD_SECRET_KEY"])
        region = os.environ.get("TENCENTCLOUD_REGION", "ap-guangzhou")
    else:
        parser.error(f"{options.credentials} is not there: start `make run` first, in this directory")
    return credential, options.region or region, host, protocol or "https"


def use_kms(kms: KmsClient) -> tuple[str, str]:
    """Encrypt and decrypt, directly and with a data key."""
    print("\nKey management")
    try:
        key_id = call(kms, kms_models, "CreateKey", Alias=NAME, Description="Made by the quickstart").KeyId
        print(f"  created the key {key_id}")
    except TencentCloudSDKException as error:
        if error.code != "InvalidParameterValue.AliasAlreadyExists":
            raise
        found = call(kms, kms_models, "ListKeyDetail", SearchKeyAlias=NAME, Limit=200).KeyMetadatas
        key_id = next(key.KeyId for key in found if key.Alias == NAME)
        print(f"  found the key {key_id} of an earlier run")

    plaintext = base64.b64encode(b"hello").decode()
    blob = call(
        kms, kms_models, "Encrypt", KeyId=key_id, Plaintext=plaintext, EncryptionContext=CONTEXT
    ).CiphertextBlob
    print(f"  encrypted {b'hello'!r} as {blob[:24]}... and decrypted it to {decrypt(kms, blob)!r}")

    data_key = call(kms, kms_models, "GenerateDataKey", KeyId=key_id, KeySpec="AES_256")
    again = call(kms, kms_models, "Decrypt", CiphertextBlob=data_key.CiphertextBlob)
    outcome = "opens to the same bytes" if again.Plaintext == data_key.Plaintext else "DIFFERS"
    print(f"  made a data key of {len(base64.b64decode(data_key.Plaintext))} bytes; its ciphertext {outcome}")
    return key_id, blob


def use_secrets_manager(ssm: SsmClient, kms: KmsClient, key_id: str, blob: str) -> None:
    """Store, read, change, disable, delete and restore a secret. Its value holds a ciphertext for the next run."""
    print("\nSecrets Manager")

    def secret(action: str, **parameters: Any) -> Any:
        return call(ssm, ssm_models, action, SecretName=NAME, **parameters)

    def read(version: str) -> dict[str, str]:
        value: dict[str, str] = json.loads(secret("GetSecretValue", VersionId=version).SecretString)
        return value

    def value(password: str) -> str:
        return json.dumps({"password": password, "greeting": blob})

    try:
        secret("CreateSecret", VersionId="v1", SecretString=value("first"), KmsKeyId=key_id)
        print(f"  created the secret {NAME!r} with version v1")
    except TencentCloudSDKException as error:
        if error.code != "ResourceInUse.SecretExists":
            raise
        # An earlier run may have been interrupted anywhere.
        if secret("DescribeSecret").Status == "PendingDelete":
            secret("RestoreSecret")
        secret("EnableSecret")
        print(f"  found the secret {NAME!r} of an earlier run")
    current = read("SSM_Current")
    print(f"  its password is {current['password']!r}, its greeting {decrypt(kms, current['greeting'])!r}")

    numbers = sorted(int(version.VersionId[1:]) for version in secret("ListSecretVersionIds").Versions)
    new = f"v{numbers[-1] + 1}"
    secret("PutSecretValue", VersionId=new, SecretString=value(f"password of {new}"))
    print(f"  added version {new}; the current password is {read('SSM_Current')['password']!r}")
    for old in numbers[: 1 - KEPT_VERSIONS]:
        secret("DeleteSecretVersion", VersionId=f"v{old}")
        print(f"  deleted version v{old}")

    secret("DisableSecret")
    print(f"  disabled it; reading answers {refusal(lambda: read(new))}")
    secret("DeleteSecret", RecoveryWindowInDays=7)
    print(f"  scheduled its deletion in 7 days; reading answers {refusal(lambda: read(new))}")
    secret("RestoreSecret")
    print(f"  restored it: {secret('DescribeSecret').Status}")
    secret("EnableSecret")
    print(f"  enabled it: the password is {read(new)['password']!r} again")


def decrypt(kms: KmsClient, blob: str) -> bytes:
    """What a CiphertextBlob of this script says."""
    answer = call(kms, kms_models, "Decrypt", CiphertextBlob=blob, EncryptionContext=CONTEXT)
    return base64.b64decode(answer.Plaintext)


def refusal(action: Any) -> str:
    """The error code that a call ends with."""
    try:
        action()
    except TencentCloudSDKException as error:
        return str(error.code)
    return "NO ERROR"


def call(client: Any, models: Any, action: str, **parameters: Any) -> Any:
    """Send one request: `<action>Request` in, `<action>Response` out."""
    request = getattr(models, f"{action}Request")()
    for name, value in parameters.items():
        setattr(request, name, value)
    return getattr(client, action)(request)


if __name__ == "__main__":
    main()
