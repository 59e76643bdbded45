"""The policy language once more, straight from its description and as naively as possible.

It reads the JSON at every question, uses none of the engine's code, and knows three answers: yes, no, and None where
something cannot be told. Only at the end does None become a no for an allow and a yes for a deny.
"""

import base64
import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Answer = bool | None


@dataclass
class Ask:
    action: str
    resource: str
    uin: str
    owner_uin: str
    app_id: str
    attributes: dict[str, list[str]] = field(default_factory=dict)


def allows(documents: Iterable[dict[str, Any]], session: dict[str, Any] | None, ask: Ask) -> bool:
    """Both the caller's policies and, where there is one, the session's have to allow."""
    return one_side_allows(documents, ask) and (session is None or one_side_allows([session], ask))


def one_side_allows(documents: Iterable[dict[str, Any]], ask: Ask) -> bool:
    answers = [(s["effect"], applies(s, ask)) for d in documents for s in d["statement"]]
    if any(effect == "deny" and answer is not False for effect, answer in answers):
        return False
    return any(effect == "allow" and answer is True for effect, answer in answers)


def applies(statement: dict[str, Any], ask: Ask) -> Answer:
    return every(
        [
            any(action_fits(a, ask.action) for a in as_list(statement["action"])),
            some([resource_fits(r, ask) for r in as_list(statement["resource"])]),
            *(
                condition_holds(operator, key, [spelled(v) for v in as_list(values)], ask)
                for operator, by_key in statement.get("condition", {}).items()
                for key, values in by_key.items()
            ),
        ]
    )


def some(answers: list[Answer]) -> Answer:
    if True in answers:
        return True
    return None if None in answers else False


def every(answers: list[Answer]) -> Answer:
    if False in answers:
        return False
    return None if None in answers else True


def opposite(answer: Answer) -> Answer:
    return None if answer is None else not answer


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def spelled(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


@functools.cache
def wild(pattern: str, text: str, *, question_mark: bool = False) -> bool:
    """Every way to share out the text among the stars is tried."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(wild(pattern[1:], text[n:], question_mark=question_mark) for n in range(len(text) + 1))
    fits = bool(text) and (pattern[0] == text[0] or (question_mark and pattern[0] == "?"))
    return fits and wild(pattern[1:], text[1:], question_mark=question_mark)


def with_variables(text: str, ask: Ask) -> str | None:
    for name, value in (("uin", ask.uin), ("owner_uin", ask.owner_uin), ("app_id", ask.app_id)):
        if "${" + name + "}" in text:
            if not value or any(c in "*?/:$ " for c in value):
                return None
            text = text.replace("${" + name + "}", value)
    return text


def action_fits(pattern: str, action: str) -> bool:
    return wild(pattern.lower().removeprefix("name/"), action.lower())


def resource_fits(pattern: str, ask: Ask) -> Answer:
    if pattern == "*":
        return True
    # With or without the colon of the empty project, with or without the account.
    whole = re.fullmatch(r"qcs::?([^:]+):([^:]*):([^:]*):([^:]+)", pattern)
    short = re.fullmatch(r"qcs::?([^:]+):([^:]*)():([^:]+)", pattern)
    found = whole or short
    assert found
    service, region, account, path = found.groups()
    _, _, asked_service, asked_region, asked_account, asked_path = ask.resource.split(":")
    if account in ("", "uin/${uin}", "uin/${owner_uin}"):
        account = "uin/" + ask.owner_uin
    return every(
        [
            service in ("*", asked_service),
            region in ("", "*", asked_region),
            account in ("*", "uin/*", asked_account),
            path_fits(path, asked_path, ask),
        ]
    )


def path_fits(path: str, asked: str, ask: Ask) -> Answer:
    filled = with_variables(path, ask)
    if filled is None:
        return None
    # The path itself, or one of the directories that the resource lies in, is named.
    return wild(filled, asked) or wild(filled.rstrip("/") + "/*", asked)


def condition_holds(operator: str, key: str, wanted: list[str], ask: Ask) -> Answer:
    given = ask.attributes.get(key) or []
    if operator == "null_equal":
        return ("true" if not given else "false") in [w.lower() for w in wanted]
    mode = ""
    for prefix in ("for_any_value:", "for_all_value:"):
        if operator.startswith(prefix):
            mode, operator = prefix, operator[len(prefix) :]
    if operator.endswith("_if_exist"):
        if not given:
            return True
        operator = operator[: -len("_if_exist")]
    if not given:
        return False
    negative = operator in NEGATIONS
    compare = COMPARE[NEGATIONS.get(operator, operator)]
    answers = [some([compared(compare, g, with_variables(w, ask)) for w in wanted]) for g in given]
    if negative:
        answers = [opposite(a) for a in answers]
    if mode == "for_all_value:" or (negative and not mode):
        return every(answers)
    return some(answers)


def compared(compare: Callable[[str, str], bool], given: str, wanted: str | None) -> Answer:
    if wanted is None:
        return None
    try:
        return compare(given, wanted)
    except ValueError:
        return None


def moment(text: str) -> datetime:
    return datetime.strptime(text.replace("Z", "+0000"), "%Y-%m-%dT%H:%M:%S%z")


def truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


def bits(address: str) -> str:
    parts = address.split(".")
    if len(parts) != 4:
        raise ValueError
    return "".join(f"{int(part):08b}" for part in parts)


def in_network(given: str, network: str) -> bool:
    base, _, length = network.partition("/")
    size = int(length or "32")
    return bits(given)[:size] == bits(base)[:size]


NEGATIONS = {
    "string_not_equal": "string_equal",
    "string_not_equal_ignore_case": "string_equal_ignore_case",
    "string_not_like": "string_like",
    "numeric_not_equal": "numeric_equal",
    "date_not_equal": "date_equal",
    "ip_not_equal": "ip_equal",
}

COMPARE: dict[str, Callable[[str, str], bool]] = {
    "string_equal": lambda a, b: a == b,
    "string_equal_ignore_case": lambda a, b: a.upper() == b.upper(),
    "string_like": lambda a, b: wild(b, a, question_mark=True),
    "numeric_equal": lambda a, b: float(a) == float(b),
    "numeric_less_than": lambda a, b: float(a) < float(b),
    "numeric_less_than_equal": lambda a, b: float(a) <= float(b),
    "numeric_greater_than": lambda a, b: float(a) > float(b),
    "numeric_greater_than_equal": lambda a, b: float(a) >= float(b),
    "date_equal": lambda a, b: moment(a) == moment(b),
    "date_less_than": lambda a, b: moment(a) < moment(b),
    "date_less_than_equal": lambda a, b: moment(a) <= moment(b),
    "date_greater_than": lambda a, b: moment(a) > moment(b),
    "date_greater_than_equal": lambda a, b: moment(a) >= moment(b),
    "ip_equal": in_network,
    "bool_equal": lambda a, b: truth(a) == truth(b),
    "binary_equal": lambda a, b: base64.b64decode(a, validate=True) == base64.b64decode(b, validate=True),
}
