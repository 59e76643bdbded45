"""What a command works with: `ctx.obj` of every command is a Session."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from keystead.cli import output
from keystead.cli import profile as profiles
from keystead.cli.exits import Exit, Failure
from keystead.cli.profile import Profile

if TYPE_CHECKING:
    from keystead.api import Api
    from keystead.credentials import Provider

VERSIONS: Final = {
    "cam": "2019-01-16",
    "cloudaudit": "2019-03-19",
    "kms": "2019-01-18",
    "ssm": "2019-09-23",
    "sts": "2018-08-13",
    "tag": "2018-08-13",
}
"""The API version of each service."""

_REGIONAL: Final = ("kms", "ssm")
_PAGE: Final = 100


class Session:
    """One run of the command: the profile, and what options and environment said instead.

    Nothing is read or connected before it is used.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        form: output.Format | None = None,
    ) -> None:
        self.name = name
        """The profile that was named, if any."""
        self.said_endpoint = endpoint
        """What an option or the environment said, whatever the profile says; so the next two."""
        self.said_region = region
        self.said_form = form
        self._profile: Profile | None = None
        self._api: Api | None = None

    @property
    def profile(self) -> Profile:
        """The profile as the file has it."""
        if self._profile is None:
            self._profile = profiles.read(self.name)
        return self._profile

    @property
    def endpoint(self) -> str:
        """Where the service is; Failure where nobody said."""
        endpoint = self.said_endpoint or self.profile.endpoint
        if not endpoint:
            raise Failure(
                "No endpoint: run `keystead configure`, or say --endpoint or KEYSTEAD_ENDPOINT.", Exit.USAGE
            )
        return endpoint

    @property
    def region(self) -> str:
        """The region; Failure where nobody said."""
        region = self._region_if_any()
        if not region:
            raise Failure(
                "No region: run `keystead configure`, or say --region or KEYSTEAD_REGION.", Exit.USAGE
            )
        return region

    @property
    def form(self) -> output.Format:
        """How results are shown."""
        if self.said_form is not None:
            return self.said_form
        said = self.profile.output
        return output.Format(said) if said else output.default_format()

    def api(self) -> Api:
        """The client, made once."""
        if self._api is None:
            self._api = self._client(self.endpoint, self.profile, profiles.provider(self.name))
        return self._api

    def close(self) -> None:
        """Close the connections."""
        if self._api is not None:
            self._api.close()

    def check_endpoint(self, of: Profile) -> None:
        """Failure where no client can be made of this profile."""
        from keystead.credentials import Credential

        self._client(of.endpoint, of, Credential("none", "none"))

    def call(self, service: str, action: str, **parameters: Any) -> dict[str, Any]:
        """The members of the response. Parameters that are None are left out. Errors are those of `Api.call`."""
        given = {name: value for name, value in parameters.items() if value is not None}
        return self.send(service, VERSIONS[service], action, given)

    def send(self, service: str, version: str, action: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """As `call`, of any service."""
        region = self.region if service in _REGIONAL else self._region_if_any()
        return self.api().call(service, version, action, region, given)

    def _region_if_any(self) -> str:
        region = self.said_region or self.profile.region
        if region:
            profiles.check_region(region)
        return region

    def pages(
        self, service: str, action: str, member: str, *, limit: int | None = None, **parameters: Any
    ) -> Iterator[dict[str, Any]]:
        """The items of a list that has Offset, Limit and TotalCount: page after page, as they are taken."""
        offset = 0
        while limit is None or offset < limit:
            size = _PAGE if limit is None else min(_PAGE, limit - offset)
            answer = self.call(service, action, Offset=offset, Limit=size, **parameters)
            items = answer.get(member) or []
            yield from items
            offset += len(items)
            if not items or offset >= answer.get("TotalCount", 0):
                return

    def show(self, members: Mapping[str, Any]) -> None:
        """One thing. RequestId is left out."""
        output.show(self.form, {name: value for name, value in members.items() if name != "RequestId"})

    def show_all(self, items: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Many things; a table has these columns."""
        output.show_all(self.form, items, columns)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something that cannot be undone easily; Failure without a yes, or without somebody to ask."""
        if yes:
            return
        if not is_interactive():
            raise Failure(f"{question} Nobody can be asked here: say --yes.", Exit.USAGE)
        if not typer.confirm(output.printable(question), err=True):
            raise Failure("Nothing was done.", Exit.ABORTED)

    @staticmethod
    def _client(endpoint: str, of: Profile, provider: Provider) -> Api:
        from keystead.api import Api

        try:
            return Api(provider, endpoint=endpoint, ca_file=of.ca_file or None, allow_http=of.allow_http)
        except ValueError:
            raise Failure(
                "The endpoint is https://host[:port], where the host may have {service} in it; plain http is for this"
                " machine alone, unless the profile has `allow_http = true`.",
                Exit.USAGE,
            ) from None
        except OSError:
            raise Failure("`ca_file` of the profile is not a file of PEM certificates.", Exit.USAGE) from None

    def ask(self, prompt: str, *, default: str | None = None) -> str:
        """A line from the user, who sees what is typed. Failure where there is nobody to ask."""
        _demand_terminal(prompt)
        answer: str = typer.prompt(prompt, default=default, err=True, show_default=bool(default))
        return answer

    def ask_hidden(self, prompt: str, *, twice: bool = False) -> str:
        """A line from the user that is not shown while it is typed."""
        _demand_terminal(prompt)
        while True:
            answer = _typed(f"{prompt}: ")
            if not answer or not twice or _typed("Again: ") == answer:
                break
            output.say("The two are not the same.")
        if not answer:
            raise Failure("Nothing was typed, and nothing was done.", Exit.ABORTED)
        return answer


def session(context: typer.Context) -> Session:
    """The session of a command."""
    found = context.find_object(Session)
    if found is None:
        raise TypeError("the command was not started by `keystead`")
    return found


def is_interactive() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _demand_terminal(prompt: str) -> None:
    if not is_interactive():
        raise Failure(f"{prompt}: nobody can be asked here.", Exit.USAGE)


def _typed(prompt: str) -> str:
    # Not typer's prompt: it asks before the terminal stops to show what is typed.
    from getpass import GetPassWarning, getpass

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)
            return getpass(prompt)
    except (KeyboardInterrupt, EOFError):
        raise typer.Abort from None
    except GetPassWarning:
        raise Failure("This terminal would show what is typed.", Exit.USAGE) from None
