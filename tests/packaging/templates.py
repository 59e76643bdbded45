"""Reading a packaged template."""

from collections.abc import Mapping
from typing import Any

AWS_STAGES = ("dev", "prod")
Template = dict[str, Any]


def functions(template: Template) -> dict[str, dict[str, Any]]:
    """Handler -> properties of every function, before the SAM transform."""
    return {r["Handler"]: r for r in of_type(template, "AWS::Serverless::Function").values()}


def of_type(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    """Name -> properties of the resources of a type."""
    return {name: r["Properties"] for name, r in template["Resources"].items() if r["Type"] == kind}


def environment(template: Template, handler: str) -> dict[str, str]:
    """The variables that a function gets if no parameter is given.

    A reference stands for its parameter's default, or for its own name.
    """
    variables = {
        **template["Globals"]["Function"]["Environment"]["Variables"],
        **functions(template)[handler]["Environment"]["Variables"],
    }
    return {
        name: _text(value, template)
        for name, value in variables.items()
        if isinstance(value, str) or "Fn::If" not in value
    }


def statements(template: Template, handler: str) -> list[dict[str, Any]]:
    """What a function's role allows."""
    role, attribute = functions(template)[handler]["Role"]["Fn::GetAtt"]
    assert attribute == "Arn"
    policies = of_type(template, "AWS::IAM::Role")[role]["Policies"]
    return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def _text(value: Mapping[str, Any] | str, template: Template) -> str:
    if isinstance(value, str):
        return value
    ((function, name),) = value.items()
    parameter = template["Parameters"].get(name, {}) if function == "Ref" else {}
    return str(parameter.get("Default", name))
