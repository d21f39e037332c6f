from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from infra.http_api import ACCESS_LOG_FIELDS
from infra.stages import CLOUD
from tests.infra.templates import all_of, composed, environment, only
from volcengine_client.limits import GATEWAY_TIMEOUT_MS, REQUEST_DEADLINE_MS

KEPT_KINDS = ["DynamoDB::Table", "SecretsManager::Secret", "Logs::LogGroup"]


def test_a_request_is_answered_before_lambda_and_lambda_ends_before_api_gateway(any_stage: Mapping[str, Any]) -> None:
    function_timeout_ms = only(any_stage, "Lambda::Function")["Timeout"] * 1_000

    assert REQUEST_DEADLINE_MS < function_timeout_ms < GATEWAY_TIMEOUT_MS
    assert "TimeoutInMillis" not in only(any_stage, "ApiGatewayV2::Integration")  # its default is the longest


def test_a_lease_covers_the_longest_call_and_every_margin(any_stage: Mapping[str, Any]) -> None:
    times = {name: int(value) for name, value in environment(any_stage).items() if name.endswith("_MS")}
    lease_ms = times.pop("VOLCENGINE_TTS_LEASE_MS")

    assert len(times) == 4
    assert lease_ms >= sum(times.values())


def test_every_request_goes_to_the_one_function(any_stage: Mapping[str, Any]) -> None:
    assert only(any_stage, "ApiGatewayV2::Route")["RouteKey"] == "$default"
    assert only(any_stage, "ApiGatewayV2::Integration")["PayloadFormatVersion"] == "2.0"
    assert only(any_stage, "ApiGatewayV2::Api")["ProtocolType"] == "HTTP"


def test_requests_are_throttled(any_stage: Mapping[str, Any], cloud: Mapping[str, Any]) -> None:
    assert only(any_stage, "ApiGatewayV2::Stage")["DefaultRouteSettings"]["ThrottlingBurstLimit"] <= 200
    assert only(cloud, "ApiGatewayV2::Stage")["DefaultRouteSettings"] == {
        "ThrottlingBurstLimit": 100,
        "ThrottlingRateLimit": 50,
    }


def test_the_access_log_tells_nothing_that_a_caller_wrote(any_stage: Mapping[str, Any]) -> None:
    settings = only(any_stage, "ApiGatewayV2::Stage")["AccessLogSettings"]
    written_by_callers = ("path", "query", "header", "body", "userAgent", "authorizer", "routeKey")

    assert json.loads(settings["Format"]) == {name: f"$context.{field}" for name, field in ACCESS_LOG_FIELDS.items()}
    assert not any(word in settings["Format"] for word in written_by_callers)
    assert settings["DestinationArn"]["Fn::GetAtt"][0] in all_of(any_stage, "Logs::LogGroup")


def test_every_log_ends(any_stage: Mapping[str, Any]) -> None:
    groups = all_of(any_stage, "Logs::LogGroup")

    assert len(groups) == 2
    assert all(group["Properties"]["RetentionInDays"] <= 30 for group in groups.values())
    assert only(any_stage, "Lambda::Function")["LoggingConfig"]["LogGroup"]["Ref"] in groups


def test_the_function_is_what_the_tests_run(any_stage: Mapping[str, Any]) -> None:
    function = only(any_stage, "Lambda::Function")

    assert function["Runtime"] == "python3.13"
    assert function["Handler"] == "api.handler.lambda_handler"
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert len(function["Layers"]) == len(all_of(any_stage, "Lambda::LayerVersion")) == 2
    assert "SnapStart" not in function  # decisions/snapstart.md
    assert "ReservedConcurrentExecutions" not in function  # decisions/function_size.md


def test_the_cloud_function_runs_on_arm(cloud: Mapping[str, Any]) -> None:
    assert only(cloud, "Lambda::Function")["Architectures"] == ["arm64"]
    assert only(cloud, "Lambda::Function")["MemorySize"] == 1_024


def test_functions_at_once_can_be_bounded() -> None:
    template = composed(replace(CLOUD, reserved_concurrency=25))

    assert only(template, "Lambda::Function")["ReservedConcurrentExecutions"] == 25


def test_the_environment_holds_names_and_times_and_no_secret(any_stage: Mapping[str, Any]) -> None:
    told = environment(any_stage)

    assert told.pop("VOLCENGINE_TTS_SECRET_ID") == {"Ref": next(iter(all_of(any_stage, "SecretsManager::Secret")))}
    assert told.pop("VOLCENGINE_TTS_POOL_TABLE") == {"Ref": next(iter(all_of(any_stage, "DynamoDB::Table")))}
    assert set(told) == {
        "VOLCENGINE_TTS_UPSTREAM_CALL_MAX_MS",
        "VOLCENGINE_TTS_SKEW_MS",
        "VOLCENGINE_TTS_SEND_MAX_MS",
        "VOLCENGINE_TTS_RENEW_MS",
        "VOLCENGINE_TTS_LEASE_MS",
        "VOLCENGINE_TTS_CALLERS_CREDENTIALS",
        "VOLCENGINE_TTS_APP_WEIGHTS",
        "POWERTOOLS_SERVICE_NAME",
        "POWERTOOLS_LOG_LEVEL",
        "POWERTOOLS_METRICS_NAMESPACE",
        "POWERTOOLS_TRACER_CAPTURE_RESPONSE",
        "POWERTOOLS_TRACER_CAPTURE_ERROR",
    }
    assert told["POWERTOOLS_TRACER_CAPTURE_RESPONSE"] == told["POWERTOOLS_TRACER_CAPTURE_ERROR"] == "false"


def test_in_the_cloud_callers_with_accounts_of_their_own_need_the_admin_key(cloud: Mapping[str, Any]) -> None:
    assert environment(cloud)["VOLCENGINE_TTS_CALLERS_CREDENTIALS"] == "with_admin_key"


def test_the_table_has_one_item_a_pool_and_is_paid_by_use(any_stage: Mapping[str, Any]) -> None:
    table = only(any_stage, "DynamoDB::Table")

    assert table["KeySchema"] == [{"AttributeName": "pool", "KeyType": "HASH"}]
    assert table["AttributeDefinitions"] == [{"AttributeName": "pool", "AttributeType": "S"}]
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_in_the_cloud_the_table_refuses_to_be_deleted(cloud: Mapping[str, Any]) -> None:
    assert only(cloud, "DynamoDB::Table")["DeletionProtectionEnabled"] is True


@pytest.mark.parametrize("kind", KEPT_KINDS)
def test_in_the_cloud_data_outlives_the_stack(kind: str, cloud: Mapping[str, Any]) -> None:
    for resource in all_of(cloud, kind).values():
        assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize("kind", KEPT_KINDS)
def test_a_local_stack_leaves_nothing_behind(kind: str, templates: Mapping[str, Mapping[str, Any]]) -> None:
    for name in ("local", "test"):
        for resource in all_of(templates[name], kind).values():
            assert resource["DeletionPolicy"] == "Delete"


def test_the_secret_is_what_it_was_when_operators_first_filled_it_in(any_stage: Mapping[str, Any]) -> None:
    """Any change here makes CloudFormation write over the account of every deployed stack."""
    ((logical_id, secret),) = all_of(any_stage, "SecretsManager::Secret").items()
    first_value = '{"volcengine_tts_appid": "", "volcengine_tts_access_key": "", "volcengine_tts_concurrency": 10}'

    assert logical_id == "AccountSecretC8B16BCE"
    assert secret["Properties"] == {
        "Description": "Volcano Engine speech account and admin key of the text-to-speech gateway",
        "GenerateSecretString": {
            "ExcludePunctuation": True,
            "GenerateStringKey": "admin_api_key",
            "PasswordLength": 48,
            "SecretStringTemplate": first_value,
        },
    }


def test_a_new_version_never_starts_with_another_table(any_stage: Mapping[str, Any]) -> None:
    """A table with another logical id would be a second pool for one account."""
    assert list(all_of(any_stage, "DynamoDB::Table")) == ["PoolsTable874D6480"]


def test_without_origins_the_api_answers_no_page_of_another_host(any_stage: Mapping[str, Any]) -> None:
    assert "CorsConfiguration" not in only(any_stage, "ApiGatewayV2::Api")


def test_the_origins_of_a_stage_may_call_the_api_and_no_others() -> None:
    template = composed(replace(CLOUD, cors_origins=("https://app.example.com",)))
    cors = only(template, "ApiGatewayV2::Api")["CorsConfiguration"]

    assert cors["AllowOrigins"] == ["https://app.example.com"]
    assert cors["AllowMethods"] == ["GET", "POST"]
    assert cors["AllowHeaders"] == ["content-type", "admin-api-key"]
    assert "AllowCredentials" not in cors


def test_without_a_domain_the_api_has_the_address_that_api_gateway_gives(any_stage: Mapping[str, Any]) -> None:
    assert not all_of(any_stage, "ApiGatewayV2::DomainName")
    assert any_stage["Outputs"]["ApiUrl"]["Value"]["Fn::GetAtt"][1] == "ApiEndpoint"


def test_the_domain_of_a_stage_leads_to_the_api() -> None:
    certificate_arn = "arn:aws:acm:eu-west-1:111122223333:certificate/1"
    template = composed(replace(CLOUD, domain_name="tts.example.com", certificate_arn=certificate_arn))
    domain = only(template, "ApiGatewayV2::DomainName")

    assert domain["DomainName"] == "tts.example.com"
    assert domain["DomainNameConfigurations"][0]["CertificateArn"] == certificate_arn
    assert only(template, "ApiGatewayV2::ApiMapping")["Stage"] == only(template, "ApiGatewayV2::Stage")["StageName"]
    assert template["Outputs"]["ApiUrl"]["Value"] == "https://tts.example.com"
    assert template["Outputs"]["ApiDomainTarget"]["Value"]["Fn::GetAtt"][1] == "RegionalDomainName"


def test_a_stack_tells_where_everything_is(any_stage: Mapping[str, Any]) -> None:
    assert set(any_stage["Outputs"]) == {"ApiUrl", "PoolTableName", "SecretArn", "PoolClientPolicyArn"}
