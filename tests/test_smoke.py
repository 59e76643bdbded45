from tests.installation import Client, refused


def test_secret_round_trip(ssm: Client) -> None:
    made = ssm.CreateSecret(SecretName="a", VersionId="v1", SecretString="s3cret")
    assert made.SecretName == "a"
    assert ssm.GetSecretValue(SecretName="a", VersionId="v1").SecretString == "s3cret"
    with refused("ResourceNotFound"):
        ssm.GetSecretValue(SecretName="b", VersionId="v1")


def test_key_round_trip(kms: Client) -> None:
    key = kms.CreateKey(Alias="k").KeyId
    blob = kms.Encrypt(KeyId=key, Plaintext="aGk=").CiphertextBlob
    assert kms.Decrypt(CiphertextBlob=blob).Plaintext == "aGk="
