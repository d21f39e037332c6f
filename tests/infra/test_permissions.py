from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from tests.infra.templates import REPOSITORY, all_of, only

GRANTED = {
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Scan",
    "dynamodb:UpdateItem",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "secretsmanager:GetSecretValue",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
CODE = [REPOSITORY / "functions", REPOSITORY / "layers/volcengine_client/python"]


def statements(template: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    return list(only(template, kind)["PolicyDocument"]["Statement"])


def actions_of(statement: Mapping[str, Any]) -> set[str]:
    actions = statement["Action"]
    return {actions} if isinstance(actions, str) else set(actions)


def calls() -> Iterator[str]:
    """Yield the name of each method that the function's code calls, and of each paginator it asks for."""
    for path in (path for folder in CODE for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr="get_paginator"), args=[ast.Constant(value=str(name))]):
                    yield name
                case ast.Call(func=ast.Attribute(attr=name)):
                    yield name


def test_the_function_may_do_what_is_listed_here_and_nothing_else(any_stage: Mapping[str, Any]) -> None:
    granted = [actions_of(statement) for statement in statements(any_stage, "IAM::Policy")]

    assert set.union(*granted) == GRANTED
    assert all(statement["Effect"] == "Allow" for statement in statements(any_stage, "IAM::Policy"))


@pytest.mark.parametrize("service", ["dynamodb", "secretsmanager"])
def test_the_function_may_do_exactly_what_its_code_calls(service: str) -> None:
    names = botocore.session.get_session().get_service_model(service).operation_names
    operations = {xform_name(name): name for name in names}
    called = {f"{service}:{operations[name]}" for name in calls() if name in operations}

    assert called == {action for action in GRANTED if action.startswith(f"{service}:")}


def test_nothing_but_traces_is_granted_on_every_resource(any_stage: Mapping[str, Any]) -> None:
    for statement in statements(any_stage, "IAM::Policy"):
        is_about_traces = actions_of(statement) == {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}

        assert (statement["Resource"] == "*") == is_about_traces
        assert not any("*" in action for action in actions_of(statement))


@pytest.mark.parametrize(
    ("service", "kind"),
    [("dynamodb", "DynamoDB::Table"), ("secretsmanager", "SecretsManager::Secret")],
)
def test_the_function_reaches_only_the_stack_s_own(service: str, kind: str, any_stage: Mapping[str, Any]) -> None:
    (own,) = all_of(any_stage, kind)
    resources = [
        statement["Resource"]
        for statement in statements(any_stage, "IAM::Policy")
        if any(action.startswith(f"{service}:") for action in actions_of(statement))
    ]

    assert resources in ([{"Ref": own}], [{"Fn::GetAtt": [own, "Arn"]}])


def test_the_function_writes_only_its_own_log(any_stage: Mapping[str, Any]) -> None:
    own = only(any_stage, "Lambda::Function")["LoggingConfig"]["LogGroup"]["Ref"]
    (statement,) = [
        statement for statement in statements(any_stage, "IAM::Policy") if "logs:PutLogEvents" in actions_of(statement)
    ]

    assert statement["Resource"] == {"Fn::GetAtt": [own, "Arn"]}


def test_the_function_s_role_has_no_managed_policy(any_stage: Mapping[str, Any]) -> None:
    role = only(any_stage, "IAM::Role")

    assert "ManagedPolicyArns" not in role
    assert role["AssumeRolePolicyDocument"]["Statement"] == [
        {"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}}
    ]


def test_only_this_api_may_invoke_the_function(any_stage: Mapping[str, Any]) -> None:
    (api,) = all_of(any_stage, "ApiGatewayV2::Api")
    permission = only(any_stage, "Lambda::Permission")

    assert permission["Principal"] == "apigateway.amazonaws.com"
    assert {"Ref": api} in permission["SourceArn"]["Fn::Join"][1]


def test_a_direct_client_may_take_part_in_one_pool_and_do_nothing_else(any_stage: Mapping[str, Any]) -> None:
    (table,) = all_of(any_stage, "DynamoDB::Table")

    assert statements(any_stage, "IAM::ManagedPolicy") == [
        {
            "Effect": "Allow",
            "Action": ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
            "Resource": {"Fn::GetAtt": [table, "Arn"]},
            "Condition": {
                "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["server"]},
                "Null": {"dynamodb:LeadingKeys": "false"},
            },
        }
    ]


def test_the_client_policy_is_attached_to_nobody_by_the_stack(any_stage: Mapping[str, Any]) -> None:
    policy = only(any_stage, "IAM::ManagedPolicy")

    assert not {"Roles", "Users", "Groups"} & set(policy)
