from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from tests.infra.templates import REPOSITORY, all_of, function, only

DOORS = ("api", "worker")
GRANTED_TO_BOTH = {
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:PutObject",
    "secretsmanager:GetSecretValue",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
    "sqs:SendMessage",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
GRANTED = {
    "api": GRANTED_TO_BOTH | {"dynamodb:Scan"},
    "worker": GRANTED_TO_BOTH,
}
# What is called with a function's role, but not by its code: the mapping reads the queue, and S3 asks for the right to
# list before it says that an object is missing.
CALLED_BY_AWS = {"s3:ListBucket", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}
NAMED_OTHERWISE = {
    "s3:HeadObject": "s3:GetObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
}
SERVICES = ("dynamodb", "s3", "secretsmanager", "sqs")
CODE = [REPOSITORY / "functions", REPOSITORY / "layers/volcengine_client/python"]


def statements(template: Mapping[str, Any], door: str) -> list[Mapping[str, Any]]:
    """Return what the role of a door's function is granted."""
    role = function(template, door)[1]["Role"]["Fn::GetAtt"][0]
    (policy,) = (
        policy["Properties"]
        for policy in all_of(template, "IAM::Policy").values()
        if policy["Properties"]["Roles"] == [{"Ref": role}]
    )
    return list(policy["PolicyDocument"]["Statement"])


def actions_of(statement: Mapping[str, Any]) -> set[str]:
    actions = statement["Action"]
    return {actions} if isinstance(actions, str) else set(actions)


def resources_of(statement: Mapping[str, Any]) -> list[Any]:
    resources = statement["Resource"]
    return resources if isinstance(resources, list) else [resources]


def granted_on(template: Mapping[str, Any], door: str, service: str) -> list[tuple[set[str], list[Any]]]:
    """Return the actions of a service, with what they are granted on."""
    return [
        (actions_of(statement), resources_of(statement))
        for statement in statements(template, door)
        if all(action.startswith(f"{service}:") for action in actions_of(statement))
    ]


def arn(logical_id: str, rest: str = "") -> dict[str, Any]:
    """Return the ARN of a resource of the stack, or what follows it."""
    own = {"Fn::GetAtt": [logical_id, "Arn"]}
    return {"Fn::Join": ["", [own, rest]]} if rest else own


def calls() -> Iterator[str]:
    """Yield the name of each method of a client that the functions' code uses, and of each request that it names."""
    for path in (path for folder in CODE for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="get_paginator" | "generate_presigned_url"),
                    args=[ast.Constant(value=str(name)), *_],
                ):
                    yield name
                case ast.Attribute(value=ast.Name(id="client") | ast.Attribute(attr="_client" | "client"), attr=name):
                    yield name
                case ast.Call(func=ast.Attribute(attr=name)):
                    yield name


def called(service: str) -> set[str]:
    """Return the actions of a service that the code takes."""
    names = botocore.session.get_session().get_service_model(service).operation_names
    operations = {xform_name(name): f"{service}:{name}" for name in names}
    actions = {operations[name] for name in calls() if name in operations}
    return {NAMED_OTHERWISE.get(action, action) for action in actions}


@pytest.mark.parametrize("door", DOORS)
def test_a_function_may_do_what_is_listed_here_and_nothing_else(door: str, any_stage: Mapping[str, Any]) -> None:
    allowed = [actions_of(statement) for statement in statements(any_stage, door)]

    assert set.union(*allowed) == GRANTED[door]
    assert all(statement["Effect"] == "Allow" for statement in statements(any_stage, door))


def granted(service: str) -> set[str]:
    """Return the actions of a service that any function is granted."""
    return {action for action in set.union(*GRANTED.values()) if action.startswith(f"{service}:")}


@pytest.mark.parametrize("service", SERVICES)
def test_the_functions_may_do_exactly_what_their_code_calls(service: str) -> None:
    assert granted(service) - CALLED_BY_AWS <= called(service) <= granted(service)


@pytest.mark.parametrize("door", DOORS)
def test_nothing_but_traces_is_granted_on_every_resource(door: str, any_stage: Mapping[str, Any]) -> None:
    for statement in statements(any_stage, door):
        is_about_traces = actions_of(statement) == {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}

        assert (statement["Resource"] == "*") == is_about_traces
        assert not any("*" in action for action in actions_of(statement))


@pytest.mark.parametrize("door", DOORS)
def test_a_function_reads_only_the_stack_s_own_secret(door: str, any_stage: Mapping[str, Any]) -> None:
    (own,) = all_of(any_stage, "SecretsManager::Secret")

    assert granted_on(any_stage, door, "secretsmanager") == [({"secretsmanager:GetSecretValue"}, [{"Ref": own}])]


@pytest.mark.parametrize(("door", "more"), [("api", {"dynamodb:Scan"}), ("worker", set())])
def test_a_function_reaches_only_the_stack_s_own_tables_and_only_the_api_lists_pools(
    door: str, more: set[str], any_stage: Mapping[str, Any]
) -> None:
    changes = {"dynamodb:GetItem", "dynamodb:PutItem"}

    assert granted_on(any_stage, door, "dynamodb") == [
        (changes | {"dynamodb:UpdateItem"} | more, [arn("PoolsTable874D6480")]),
        (changes, [arn("JobsTable10C8EDF6")]),
        ({"dynamodb:Query"}, [arn("JobsTable10C8EDF6", "/index/by_account")]),
    ]


@pytest.mark.parametrize("door", DOORS)
def test_a_function_reaches_texts_and_audio_in_the_stack_s_own_bucket_and_deletes_none(
    door: str, any_stage: Mapping[str, Any]
) -> None:
    (own,) = all_of(any_stage, "S3::Bucket")

    assert granted_on(any_stage, door, "s3") == [
        ({"s3:GetObject", "s3:PutObject"}, [arn(own, "/jobs/*"), arn(own, "/speech/*")]),
        ({"s3:ListBucket"}, [arn(own)]),
    ]


@pytest.mark.parametrize("door", DOORS)
def test_a_missing_object_is_told_as_missing_and_nothing_beside_texts_and_audio_is_listed(
    door: str, any_stage: Mapping[str, Any]
) -> None:
    (statement,) = [one for one in statements(any_stage, door) if actions_of(one) == {"s3:ListBucket"}]

    assert statement["Condition"] == {"StringLikeIfExists": {"s3:prefix": ["jobs/*", "speech/*"]}}


def test_only_the_worker_takes_work_and_only_the_api_takes_what_was_lost(any_stage: Mapping[str, Any]) -> None:
    taking = {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}

    assert granted_on(any_stage, "api", "sqs") == [
        ({"sqs:SendMessage"}, [arn("JobQueue67926FCA"), arn("JobQueueDeadLettersF6ABABE2")]),
        (taking, [arn("JobQueueLost5661721E")]),
    ]
    assert granted_on(any_stage, "worker", "sqs") == [(taking | {"sqs:SendMessage"}, [arn("JobQueue67926FCA")])]


def test_a_function_writes_only_its_own_log(any_stage: Mapping[str, Any]) -> None:
    for door in DOORS:
        own = function(any_stage, door)[1]["LoggingConfig"]["LogGroup"]["Ref"]

        assert granted_on(any_stage, door, "logs") == [({"logs:CreateLogStream", "logs:PutLogEvents"}, [arn(own)])]


def test_the_functions_roles_have_no_managed_policy(any_stage: Mapping[str, Any]) -> None:
    roles = all_of(any_stage, "IAM::Role")

    assert set(roles) == {function(any_stage, door)[1]["Role"]["Fn::GetAtt"][0] for door in DOORS}
    for role in roles.values():
        assert "ManagedPolicyArns" not in role["Properties"]
        assert role["Properties"]["AssumeRolePolicyDocument"]["Statement"] == [
            {"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}}
        ]


def test_only_this_api_may_invoke_its_function_and_nobody_the_worker(any_stage: Mapping[str, Any]) -> None:
    (api,) = all_of(any_stage, "ApiGatewayV2::Api")
    permission = only(any_stage, "Lambda::Permission")

    assert permission["Principal"] == "apigateway.amazonaws.com"
    assert permission["FunctionName"] == {"Fn::GetAtt": [function(any_stage, "api")[0], "Arn"]}
    assert {"Ref": api} in permission["SourceArn"]["Fn::Join"][1]


def test_a_direct_client_may_take_part_in_one_pool_and_do_nothing_else(any_stage: Mapping[str, Any]) -> None:
    policy = only(any_stage, "IAM::ManagedPolicy")

    assert policy["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
            "Resource": arn("PoolsTable874D6480"),
            "Condition": {
                "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["server", "server:*"]},
                "Null": {"dynamodb:LeadingKeys": "false"},
            },
        }
    ]


def test_the_client_policy_is_attached_to_nobody_by_the_stack(any_stage: Mapping[str, Any]) -> None:
    policy = only(any_stage, "IAM::ManagedPolicy")

    assert not {"Roles", "Users", "Groups"} & set(policy)
