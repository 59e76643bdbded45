"""`python -m tools.keys_layer layer.zip`: the software HSM's sealed key files as a Lambda layer.

The code directory of a function is read-only and its /tmp is private to one sandbox, so functions cannot make key
files: an operator makes them once, in KEYSTEAD_HOME, and functions find them in /opt/keystead. They are useless
without KEYSTEAD_SEAL_PASSPHRASE or KEYSTEAD_SEAL_KEY. Key files that are there already are only packed.
"""

import argparse
import sys
import zipfile
from pathlib import Path
from typing import Final

from chalicelib.context import IDENTITY
from chalicelib.hsm.software import SoftwareHsm
from chalicelib.settings import Settings

_STAMP: Final = (1980, 1, 1, 0, 0, 0)


class Failure(Exception):
    """Why there is no layer."""


def build(settings: Settings, layer: Path, *, new: bool = False) -> None:
    """Write the layer with a key file for identity data and for each region; `new` makes those that are missing."""
    if not (settings.seal_passphrase or settings.seal_key):
        raise Failure(
            "Set KEYSTEAD_SEAL_PASSPHRASE or KEYSTEAD_SEAL_KEY: key files sealed under a generated file do not open on Lambda."
        )
    domains = (IDENTITY, *settings.regions)
    files = [settings.home / "hsm" / f"{domain}.keys" for domain in domains]
    missing = [str(file) for file in files if not file.exists()]
    if missing and not new:
        raise Failure(
            f"Missing: {', '.join(missing)}. Put back the backup: what is encrypted under lost keys is lost."
            " Only a new installation or a new region takes new keys: add --new."
        )
    for domain in domains:
        SoftwareHsm.open(
            settings, domain
        ).close()  # makes the file, or proves that the passphrase or key opens it
    with zipfile.ZipFile(layer, "w") as archive:
        for file in sorted(files):
            entry = zipfile.ZipInfo(f"keystead/hsm/{file.name}", _STAMP)
            entry.external_attr = 0o444 << 16  # Lambda's user is not the owner
            archive.writestr(entry, file.read_bytes())


def main() -> None:
    """Build the layer that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tools.keys_layer", description=__doc__)
    parser.add_argument("layer", type=Path, help="the zip file to write")
    parser.add_argument("--new", action="store_true", help="make the key files that are missing")
    options = parser.parse_args()
    settings = Settings.from_environment()
    try:
        build(settings, options.layer, new=options.new)
    except Failure as failure:
        sys.exit(str(failure))
    sys.stdout.write(
        f"{options.layer}: publish it as a layer. Back up {settings.home / 'hsm'} and the passphrase or key.\n"
    )


if __name__ == "__main__":
    main()
