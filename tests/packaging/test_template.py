"""What `make package` hands to CloudFormation."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chalicelib.jobs import schedule, sweep
from chalicelib.settings import Settings
from tests.packaging.templates import AWS_STAGES, Template, environment, functions, of_type, statements
from tools import package

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

API = "app.api"
JOBS = [f"app.{job}" for job in schedule.EVERY_MINUTES]
TABLES = {"IdentityTable": "identity", "DataTable": "data", "AuditTable": "audit"}


def test_cfn_lint_finds_nothing_in_the_expanded_template(expanded: Template, tmp_path: Path) -> None:
    file = tmp_path / "template.json"
    file.write_text(json.dumps(expanded))
    cfn_lint = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([cfn_lint, file], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_the_functions_are_the_api_and_every_job(template: Template) -> None:
    assert sorted(functions(template)) == sorted([API, *JOBS])


def test_there_is_no_rest_api(expanded: Template) -> None:
    types = {resource["Type"] for resource in expanded["Resources"].values()}
    assert not [t for t in types if t.startswith(("AWS::ApiGateway", "AWS::Serverless"))]


def test_the_api_answers_anybody_at_a_function_url(expanded: Template) -> None:
    (url,) = of_type(expanded, "AWS::Lambda::Url").values()
    alias = {"Ref": "ApiAliaslive"}
    assert url == {"TargetFunctionArn": alias, "AuthType": "NONE", "InvokeMode": "BUFFERED"}
    public = [p for p in of_type(expanded, "AWS::Lambda::Permission").values() if p["Principal"] == "*"]
    assert sorted(public, key=lambda p: str(p["Action"])) == [
        {
            "Action": "lambda:InvokeFunction",
            "FunctionName": alias,
            "Principal": "*",
            "InvokedViaFunctionUrl": True,
        },
        {
            "Action": "lambda:InvokeFunctionUrl",
            "FunctionName": alias,
            "Principal": "*",
            "FunctionUrlAuthType": "NONE",
        },
    ]


def test_the_outputs_are_the_url_and_the_tables(template: Template) -> None:
    assert {name: output["Value"] for name, output in template["Outputs"].items()} == {
        "Url": {"Fn::GetAtt": ["ApiUrl", "FunctionUrl"]},
        **{name: {"Ref": name} for name in TABLES},
    }


def test_no_table_can_be_lost_by_accident(expanded: Template) -> None:
    for name, short in TABLES.items():
        resource = expanded["Resources"][name]
        table = resource["Properties"]
        # A global table has these for each replica.
        ((place,)) = table.get("Replicas", [table])
        assert place["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert place["DeletionProtectionEnabled"] is True
        assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"
        assert table["SSESpecification"] == {"SSEEnabled": True}
        assert table["BillingMode"] == "PAY_PER_REQUEST"
        assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
        assert table["TableName"] == {"Fn::Sub": "${AWS::StackName}-" + short}


def test_the_identity_table_can_get_replicas_in_other_regions(expanded: Template) -> None:
    """CloudFormation cannot turn a Table into a GlobalTable later."""
    assert [*of_type(expanded, "AWS::DynamoDB::GlobalTable")] == ["IdentityTable"]
    (replica,) = expanded["Resources"]["IdentityTable"]["Properties"]["Replicas"]
    assert replica["Region"] == {"Ref": "AWS::Region"}


@pytest.mark.parametrize("handler", [API, *JOBS])
def test_the_settings_of_every_function_are_known(template: Template, stage: str, handler: str) -> None:
    settings = Settings.from_environment(environment(template, handler))
    assert settings.stage == stage
    assert settings.table == "dynamodb"
    assert settings.table_names == {short: name for name, short in TABLES.items()}
    assert not settings.software_hsm_in_production  # only the operator's word at deployment allows it


@pytest.mark.parametrize(
    ("variable", "parameter"), [("KEYSTEAD_SEAL_KEY", "SealSecret"), ("KEYSTEAD_PKCS11_PIN", "PinSecret")]
)
def test_what_opens_the_keys_is_a_reference_and_never_a_value(
    expanded: Template, variable: str, parameter: str
) -> None:
    reference = {"Fn::Sub": f"{{{{resolve:secretsmanager:${{{parameter}}}}}}}"}
    for function in of_type(expanded, "AWS::Lambda::Function").values():
        variables = function["Environment"]["Variables"]
        assert variables[variable] == {"Fn::If": [f"Has{parameter}", reference, {"Ref": "AWS::NoValue"}]}
        assert not {"KEYSTEAD_SEAL_PASSPHRASE", "KEYSTEAD_PKCS11_PIN_FILE"} & set(variables)
    assert expanded["Conditions"][f"Has{parameter}"] == given(parameter)


def test_the_variables_can_be_kept_under_a_key_of_the_operator(expanded: Template) -> None:
    """Whoever may read a function's configuration then needs that key to see what opens the keys."""
    key = {"Fn::If": ["HasEnvironmentKey", {"Ref": "EnvironmentKey"}, {"Ref": "AWS::NoValue"}]}
    for function in of_type(expanded, "AWS::Lambda::Function").values():
        assert function["KmsKeyArn"] == key
    assert expanded["Conditions"]["HasEnvironmentKey"] == given("EnvironmentKey")


def test_layers_bring_the_key_files_and_native_libraries(expanded: Template) -> None:
    layers = [
        {"Fn::If": [f"Has{name}", {"Ref": name}, {"Ref": "AWS::NoValue"}]}
        for name in ("KeysLayer", "LibraryLayer")
    ]
    for function in of_type(expanded, "AWS::Lambda::Function").values():
        assert function["Layers"] == layers
        assert function["Environment"]["Variables"]["KEYSTEAD_HOME"] == "/opt/keystead"
    for name in ("KeysLayer", "LibraryLayer"):
        assert expanded["Conditions"][f"Has{name}"] == given(name)


def test_a_stack_without_any_keys_is_refused(expanded: Template) -> None:
    """Functions would make keys of their own otherwise, each sandbox others."""
    software = {"Fn::And": [given("KeysLayer"), given("SealSecret")]}
    (assertion,) = expanded["Rules"]["KeysAreSomewhere"]["Assertions"]
    assert assertion["Assert"] == {"Fn::Or": [software, given("PinSecret")]}


def test_a_change_of_any_setting_reaches_the_function_url(template: Template) -> None:
    """The URL leads to an alias, and by default SAM publishes a new version for new code only."""
    assert functions(template)[API]["AutoPublishAlias"] == "live"
    assert functions(template)[API]["AutoPublishAliasAllProperties"] is True


def test_each_function_has_one_policy_file_for_all_stages() -> None:
    config = json.loads((package.ROOT / ".chalice/config.json").read_text())
    for stage in AWS_STAGES:
        for name, function in config["stages"][stage]["lambda_functions"].items():
            assert function["iam_policy_file"] == f"policy-{name}.json"


@pytest.mark.parametrize("job", schedule.EVERY_MINUTES)
def test_a_job_runs_on_its_schedule_with_time_for_every_region(template: Template, job: str) -> None:
    function = functions(template)[f"app.{job}"]
    ((event,),) = [function["Events"].values()]
    assert event["Properties"] == {"Schedule": f"rate({schedule.EVERY_MINUTES[job]} minutes)"}
    regions = Settings.from_environment(environment(template, f"app.{job}")).regions
    assert sweep.MAX_SECONDS * len(regions) < function["Timeout"]


@pytest.mark.parametrize("job", JOBS)
def test_a_job_runs_alone_in_production(template: Template, stage: str, job: str) -> None:
    reserved = functions(template)[job].get("ReservedConcurrentExecutions")
    # A new AWS account has a quota that leaves nothing to reserve: it must be able to deploy `dev`.
    assert reserved == (1 if stage == "prod" else None)


def test_every_function_has_a_role_of_its_own_without_wildcards(template: Template) -> None:
    roles = [str(function["Role"]) for function in functions(template).values()]
    assert len(set(roles)) == len(roles)
    for handler in functions(template):
        for statement in statements(template, handler):
            assert statement["Effect"] == "Allow"
            assert "*" not in json.dumps(statement)


def test_functions_write_to_the_one_log_group_that_expires(template: Template) -> None:
    assert template["Globals"]["Function"]["LoggingConfig"] == {"LogGroup": {"Ref": "Logs"}}
    assert of_type(template, "AWS::Logs::LogGroup") == {"Logs": {"RetentionInDays": 30}}
    for handler in functions(template):
        assert _granted(template, handler, {"Fn::GetAtt": ["Logs", "Arn"]}) == {
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        }


def _granted(template: Template, handler: str, resource: dict[str, Any]) -> set[str]:
    found = [s["Action"] for s in statements(template, handler) if s["Resource"] == resource]
    return {action for actions in found for action in actions}


def test_the_guide_names_settings_and_parameters_that_exist(template: Template) -> None:
    guide = (package.ROOT / "docs/deploy-aws.md").read_text()
    exported = dict.fromkeys(re.findall(r"(KEYSTEAD_\w+)=", guide), "")
    settings = {
        "KEYSTEAD_REGIONS": "r:sm",
        "KEYSTEAD_SOFTWARE_HSM_IN_PRODUCTION": "on",
        "KEYSTEAD_TABLE": "dynamodb",
    }
    Settings.from_environment(exported | settings)
    used = set(re.findall(r"(\w+)=", _command(guide, "--parameter-overrides")))
    assert used == {"KeysLayer", "SealSecret", "SoftwareHsmInProduction"}
    assert set(re.findall(r"^\| `(\w+)` \|", guide, re.MULTILINE)) == set(template["Parameters"]) - used


def test_a_run_that_fails_for_good_is_kept_and_raises_an_alarm(template: Template) -> None:
    queue = {"Fn::GetAtt": ["DeadLetters", "Arn"]}
    assert template["Globals"]["Function"]["DeadLetterQueue"] == {"Type": "SQS", "TargetArn": queue}
    assert of_type(template, "AWS::SQS::Queue")["DeadLetters"]["SqsManagedSseEnabled"] is True
    for handler in functions(template):
        assert _granted(template, handler, queue) == {"sqs:SendMessage"}


def test_every_alarm_tells_the_topic_and_is_in_the_handbook(template: Template) -> None:
    handbook = (package.ROOT / "docs/operations.md").read_text()
    alarms = of_type(template, "AWS::CloudWatch::Alarm")
    tells = {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopic"}], {"Ref": "AWS::NoValue"}]}
    assert set(re.findall(r"^\| `(\w+Alarm)` \|", handbook, re.MULTILINE)) == set(alarms)
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == tells
        assert alarm["TreatMissingData"] == "notBreaching"


def test_functions_enter_a_vpc_only_if_subnets_are_named(template: Template) -> None:
    network = template["Globals"]["Function"]["VpcConfig"]
    assert network["SubnetIds"] == {"Fn::If": ["HasVpc", {"Ref": "Subnets"}, []]}
    assert network["SecurityGroupIds"] == {"Fn::If": ["HasVpc", {"Ref": "SecurityGroups"}, []]}
    managed = "arn:${AWS::Partition}:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"
    for role in of_type(template, "AWS::IAM::Role").values():
        allowed = {"Fn::If": ["HasVpc", [{"Fn::Sub": managed}], {"Ref": "AWS::NoValue"}]}
        assert role["ManagedPolicyArns"] == allowed


def given(parameter: str) -> dict[str, Any]:
    """The condition that a parameter is not empty."""
    return {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, ""]}]}


def _command(guide: str, option: str) -> str:
    return guide.partition(option)[2].partition("\n")[0]
