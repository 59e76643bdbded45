"""`python -m tools.keys_layer`."""

import zipfile
from pathlib import Path

import pytest

from chalicelib.hsm.port import HsmMisconfigured, KeyKind
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.settings import Settings
from tools import keys_layer

REGIONS = {"ap-guangzhou": "sm", "ap-singapore": "fips"}


def settings(home: Path, passphrase: str = "a passphrase") -> Settings:
    return Settings(stage="dev", home=home, regions=REGIONS, seal_passphrase=passphrase)


def test_the_layer_opens_what_the_operator_encrypted(tmp_path: Path) -> None:
    operator, layer = settings(tmp_path / "home"), tmp_path / "layer.zip"
    keys_layer.build(operator, layer, new=True)
    domains = ("identity", *REGIONS)
    sealed = {}
    for domain in domains:
        hsm = SoftwareHsm.open(operator, domain)
        key = hsm.generate(KeyKind.AES_256, b"place")
        sealed[domain] = key, hsm.encrypt(key, b"text", b"")

    with zipfile.ZipFile(layer) as archive:
        archive.extractall(tmp_path / "opt")
    function = settings(tmp_path / "opt/keystead")
    for domain in domains:
        assert SoftwareHsm.open(function, domain).decrypt(*sealed[domain], b"") == b"text"


def test_everybody_may_read_a_key_file_in_the_layer_and_nobody_may_write_it(tmp_path: Path) -> None:
    keys_layer.build(settings(tmp_path), tmp_path / "layer.zip", new=True)
    with zipfile.ZipFile(tmp_path / "layer.zip") as archive:
        entries = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    assert entries == {
        "keystead/hsm/ap-guangzhou.keys": 0o444,
        "keystead/hsm/ap-singapore.keys": 0o444,
        "keystead/hsm/identity.keys": 0o444,
    }


def test_the_same_key_files_give_the_same_layer(tmp_path: Path) -> None:
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    keys_layer.build(settings(tmp_path / "home"), first, new=True)
    keys_layer.build(settings(tmp_path / "home"), second)
    assert first.read_bytes() == second.read_bytes()


def test_lost_key_files_are_not_silently_replaced_by_new_ones(tmp_path: Path) -> None:
    keys_layer.build(settings(tmp_path / "home"), tmp_path / "layer.zip", new=True)
    lost = tmp_path / "home/hsm/ap-singapore.keys"
    lost.unlink()
    with pytest.raises(keys_layer.Failure, match=r"ap-singapore\.keys"):
        keys_layer.build(settings(tmp_path / "home"), tmp_path / "layer.zip")
    assert not lost.exists()


def test_another_passphrase_is_refused_before_a_layer_is_written(tmp_path: Path) -> None:
    keys_layer.build(settings(tmp_path / "home"), tmp_path / "layer.zip", new=True)
    (tmp_path / "layer.zip").unlink()
    with pytest.raises(HsmMisconfigured):
        keys_layer.build(settings(tmp_path / "home", "another"), tmp_path / "layer.zip")
    assert not (tmp_path / "layer.zip").exists()


def test_key_files_need_a_passphrase(tmp_path: Path) -> None:
    with pytest.raises(keys_layer.Failure, match="KEYSTEAD_SEAL_PASSPHRASE"):
        keys_layer.build(settings(tmp_path, ""), tmp_path / "layer.zip", new=True)
