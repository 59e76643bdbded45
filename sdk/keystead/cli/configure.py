"""`keystead configure`: write a profile."""

from __future__ import annotations

from dataclasses import replace

import typer

from keystead.cli import profile
from keystead.cli.exits import Exit, Failure
from keystead.cli.output import say
from keystead.cli.session import is_interactive, session


def command(context: typer.Context) -> None:
    """Write a profile: asks for what --endpoint and --region do not say, and then for an access key.

    The SecretKey is not shown while it is typed, and is kept in a file that only you can read.
    """
    here = session(context)
    name = here.name or profile.DEFAULT
    profile.check_name(name)
    old = profile.read_all().get(name, profile.Profile())
    endpoint, region = here.said_endpoint or "", here.said_region or ""
    output = here.said_form.value if here.said_form else old.output
    secret_id = secret_key = ""
    if is_interactive():
        endpoint = endpoint or here.ask("Endpoint", default=old.endpoint or "http://127.0.0.1:8000")
        region = region or here.ask("Region", default=old.region or "ap-guangzhou")
        if not (here.said_endpoint and here.said_region):
            secret_id = here.ask("SecretId (empty: environment, credentials file or tccli)", default="")
        if secret_id:
            secret_key = here.ask_hidden("SecretKey")
    new = replace(old, endpoint=endpoint or old.endpoint, region=region or old.region, output=output)
    if not (new.endpoint and new.region):
        raise Failure("Nobody can be asked here: say --endpoint and --region.", Exit.USAGE)
    profile.check_region(new.region)
    here.check_endpoint(new)
    if secret_id:
        from keystead.credentials import Credential

        Credential(secret_id, secret_key)  # refuses what cannot be one
        profile.write_keys(name, secret_id, secret_key)
    profile.write(name, new)
    say(f"keystead: profile {name!r} is in {profile.config_file()}.")
