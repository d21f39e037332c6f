from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from infra.http_api import ACCESS_LOG_FIELDS
from infra.stages import CLOUD
from tests.infra.templates import all_of, composed, environment, function, only
from volcengine_client.limits import GATEWAY_TIMEOUT_MS, REQUEST_DEADLINE_MS

KEPT_KINDS = ["DynamoDB::Table", "Logs::LogGroup", "S3::Bucket", "SecretsManager::Secret"]
DAY_S = 86_400
POOLS, JOBS, BUCKET = "PoolsTable874D6480", "JobsTable10C8EDF6", "SpeechBucket6F4633BC"
QUEUE, LOST, DEAD_LETTERS = "JobQueue67926FCA", "JobQueueLost5661721E", "JobQueueDeadLettersF6ABABE2"


def properties(template: Mapping[str, Any], logical_id: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = template["Resources"][logical_id]["Properties"]
    return found


def mapping(template: Mapping[str, Any], queue: str) -> Mapping[str, Any]:
    """Return what leads from a queue to the function that takes its messages."""
    found: Mapping[str, Any]
    (found,) = (
        resource["Properties"]
        for resource in all_of(template, "Lambda::EventSourceMapping").values()
        if resource["Properties"]["EventSourceArn"] == {"Fn::GetAtt": [queue, "Arn"]}
    )
    return found


def is_https_asked_for(policy: Mapping[str, Any]) -> bool:
    (statement,) = policy["PolicyDocument"]["Statement"]
    is_for_all = statement["Principal"] == {"AWS": "*"} and statement["Action"] in {"s3:*", "sqs:*"}
    is_denied = statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    return is_for_all and is_denied


def test_a_request_is_answered_before_lambda_and_lambda_ends_before_api_gateway(any_stage: Mapping[str, Any]) -> None:
    _, properties_of_api = function(any_stage, "api")
    function_timeout_ms = properties_of_api["Timeout"] * 1_000

    assert REQUEST_DEADLINE_MS < function_timeout_ms < GATEWAY_TIMEOUT_MS
    assert "TimeoutInMillis" not in only(any_stage, "ApiGatewayV2::Integration")  # its default is the longest


def test_a_lease_covers_the_longest_call_and_every_margin(any_stage: Mapping[str, Any]) -> None:
    for door in ("api", "worker"):
        told = environment(any_stage, door)
        within_ms = [
            int(told[f"VOLCENGINE_TTS_{name}_MS"]) for name in ("UPSTREAM_CALL_MAX", "SKEW", "SEND_MAX", "RENEW")
        ]

        assert int(told["VOLCENGINE_TTS_LEASE_MS"]) >= sum(within_ms)


def test_a_slice_ends_before_lambda_and_lambda_before_the_message_is_handed_out_again(
    any_stage: Mapping[str, Any],
) -> None:
    timeout_ms = function(any_stage, "worker")[1]["Timeout"] * 1_000
    visibility_ms = properties(any_stage, QUEUE)["VisibilityTimeout"] * 1_000
    told = environment(any_stage, "worker")

    assert int(told["VOLCENGINE_TTS_SLICE_MS"]) < timeout_ms < visibility_ms


def test_in_the_cloud_a_slice_is_ninety_seconds_and_a_dead_worker_s_message_is_back_after_130(
    cloud: Mapping[str, Any],
) -> None:
    assert environment(cloud, "worker")["VOLCENGINE_TTS_SLICE_MS"] == "90000"
    assert function(cloud, "worker")[1]["Timeout"] == 120
    assert properties(cloud, QUEUE)["VisibilityTimeout"] == 130


def test_every_request_goes_to_the_api_s_function(any_stage: Mapping[str, Any]) -> None:
    (own, _), integration = function(any_stage, "api"), only(any_stage, "ApiGatewayV2::Integration")

    assert integration["IntegrationUri"] == {"Fn::GetAtt": [own, "Arn"]}
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

    assert len(groups) == 3
    assert all(group["Properties"]["RetentionInDays"] <= 30 for group in groups.values())


def test_each_function_writes_a_log_of_its_own(any_stage: Mapping[str, Any]) -> None:
    written = {function(any_stage, door)[1]["LoggingConfig"]["LogGroup"]["Ref"] for door in ("api", "worker")}

    assert len(written) == 2
    assert written < set(all_of(any_stage, "Logs::LogGroup"))


def test_there_is_one_function_for_each_door(any_stage: Mapping[str, Any]) -> None:
    assert set(all_of(any_stage, "Lambda::Function")) == {function(any_stage, door)[0] for door in ("api", "worker")}


@pytest.mark.parametrize("door", ["api", "worker"])
def test_a_function_is_what_the_tests_run(door: str, any_stage: Mapping[str, Any]) -> None:
    _, properties_of_it = function(any_stage, door)

    assert properties_of_it["Runtime"] == "python3.13"
    assert properties_of_it["TracingConfig"] == {"Mode": "Active"}
    assert len(properties_of_it["Layers"]) == len(all_of(any_stage, "Lambda::LayerVersion")) == 2
    assert "SnapStart" not in properties_of_it  # decisions/snapstart.md
    assert "ReservedConcurrentExecutions" not in properties_of_it  # decisions/function_size.md


def test_neither_function_carries_the_other_s_door(any_stage: Mapping[str, Any]) -> None:
    api, worker = (function(any_stage, door)[1]["Code"]["S3Key"] for door in ("api", "worker"))

    assert api != worker


def test_the_cloud_functions_run_on_arm(cloud: Mapping[str, Any]) -> None:
    for door, memory_mib in (("api", 1_024), ("worker", 512)):
        assert function(cloud, door)[1]["Architectures"] == ["arm64"]
        assert function(cloud, door)[1]["MemorySize"] == memory_mib


def test_the_functions_of_the_api_at_once_can_be_bounded_and_the_worker_s_are() -> None:
    template = composed(replace(CLOUD, reserved_concurrency=25))

    assert function(template, "api")[1]["ReservedConcurrentExecutions"] == 25
    assert "ReservedConcurrentExecutions" not in function(template, "worker")[1]
    assert mapping(template, QUEUE)["ScalingConfig"] == {"MaximumConcurrency": 5}


@pytest.mark.parametrize(
    ("door", "more"), [("api", {"VOLCENGINE_TTS_DEAD_LETTERS"}), ("worker", {"VOLCENGINE_TTS_SLICE_MS"})]
)
def test_the_environment_holds_names_and_times_and_no_secret(
    door: str, more: set[str], any_stage: Mapping[str, Any]
) -> None:
    told = environment(any_stage, door)

    assert told.pop("VOLCENGINE_TTS_SECRET_ID") == {"Ref": next(iter(all_of(any_stage, "SecretsManager::Secret")))}
    assert told.pop("VOLCENGINE_TTS_POOL_TABLE") == {"Ref": POOLS}
    assert told.pop("VOLCENGINE_TTS_JOB_TABLE") == {"Ref": JOBS}
    assert told.pop("VOLCENGINE_TTS_BUCKET") == {"Ref": BUCKET}
    assert told.pop("VOLCENGINE_TTS_JOB_QUEUE") == {"Ref": QUEUE}
    assert set(told) - more == {
        "VOLCENGINE_TTS_JOBS_KEPT_DAYS",
        "VOLCENGINE_TTS_SPEECH_KEPT_DAYS",
        "VOLCENGINE_TTS_UPSTREAM_CALL_MAX_MS",
        "VOLCENGINE_TTS_SKEW_MS",
        "VOLCENGINE_TTS_SEND_MAX_MS",
        "VOLCENGINE_TTS_RENEW_MS",
        "VOLCENGINE_TTS_LEASE_MS",
        "VOLCENGINE_TTS_CALLERS_CREDENTIALS",
        "VOLCENGINE_TTS_APP_WEIGHTS",
        "VOLCENGINE_TTS_OPENAI_VOICES",
        "POWERTOOLS_SERVICE_NAME",
        "POWERTOOLS_LOG_LEVEL",
        "POWERTOOLS_METRICS_NAMESPACE",
        "POWERTOOLS_TRACER_CAPTURE_RESPONSE",
        "POWERTOOLS_TRACER_CAPTURE_ERROR",
    }
    assert set(told) >= more
    assert told["POWERTOOLS_TRACER_CAPTURE_RESPONSE"] == told["POWERTOOLS_TRACER_CAPTURE_ERROR"] == "false"


def test_in_the_cloud_callers_with_accounts_of_their_own_need_the_admin_key(cloud: Mapping[str, Any]) -> None:
    assert environment(cloud)["VOLCENGINE_TTS_CALLERS_CREDENTIALS"] == "with_admin_key"


def test_the_tables_have_one_item_a_pool_and_one_a_job(any_stage: Mapping[str, Any]) -> None:
    pools, jobs = properties(any_stage, POOLS), properties(any_stage, JOBS)

    assert pools["KeySchema"] == [{"AttributeName": "pool", "KeyType": "HASH"}]
    assert pools["AttributeDefinitions"] == [{"AttributeName": "pool", "AttributeType": "S"}]
    assert "GlobalSecondaryIndexes" not in pools
    assert jobs["KeySchema"] == [{"AttributeName": "job_id", "KeyType": "HASH"}]


def test_an_account_s_jobs_are_found_in_order_without_a_second_look(any_stage: Mapping[str, Any]) -> None:
    jobs = properties(any_stage, JOBS)

    assert jobs["GlobalSecondaryIndexes"] == [
        {
            "IndexName": "by_account",
            "KeySchema": [
                {"AttributeName": "account", "KeyType": "HASH"},
                {"AttributeName": "sorted_by", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "ALL"},
        }
    ]
    assert all(attribute["AttributeType"] == "S" for attribute in jobs["AttributeDefinitions"])


@pytest.mark.parametrize("logical_id", [POOLS, JOBS])
def test_a_table_is_paid_by_use_its_items_expire_and_it_can_be_restored(
    logical_id: str, any_stage: Mapping[str, Any]
) -> None:
    table = properties(any_stage, logical_id)

    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


@pytest.mark.parametrize("logical_id", [POOLS, JOBS])
def test_in_the_cloud_a_table_refuses_to_be_deleted(logical_id: str, cloud: Mapping[str, Any]) -> None:
    assert properties(cloud, logical_id)["DeletionProtectionEnabled"] is True


def test_texts_and_audio_lie_in_a_private_and_encrypted_bucket(any_stage: Mapping[str, Any]) -> None:
    bucket = only(any_stage, "S3::Bucket")
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]

    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert only(any_stage, "S3::BucketPolicy")["Bucket"] == {"Ref": BUCKET}
    assert is_https_asked_for(only(any_stage, "S3::BucketPolicy"))


def test_everything_in_the_bucket_ends(any_stage: Mapping[str, Any]) -> None:
    bucket = only(any_stage, "S3::Bucket")
    told = environment(any_stage)
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}

    assert {rule["Status"] for rule in rules.values()} == {"Enabled"}
    assert rules["jobs"]["Prefix"] == "jobs/"
    assert rules["jobs"]["ExpirationInDays"] == int(told["VOLCENGINE_TTS_JOBS_KEPT_DAYS"]) + 1
    assert rules["speech"]["Prefix"] == "speech/"
    assert rules["speech"]["ExpirationInDays"] == int(told["VOLCENGINE_TTS_SPEECH_KEPT_DAYS"])
    assert rules["abandoned-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert "VersioningConfiguration" not in bucket


def test_the_queues_are_encrypted_and_take_nothing_in_clear_text(any_stage: Mapping[str, Any]) -> None:
    policies = [policy["Properties"] for policy in all_of(any_stage, "SQS::QueuePolicy").values()]

    assert [policy["Queues"] for policy in policies] == [[{"Ref": DEAD_LETTERS}], [{"Ref": LOST}], [{"Ref": QUEUE}]]
    assert all(is_https_asked_for(policy) for policy in policies)
    for queue in all_of(any_stage, "SQS::Queue").values():
        assert queue["Properties"]["SqsManagedSseEnabled"] is True


def test_a_message_that_fails_too_often_is_kept_apart_and_longer(any_stage: Mapping[str, Any]) -> None:
    queue, lost, dead_letters = (properties(any_stage, name) for name in (QUEUE, LOST, DEAD_LETTERS))

    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": {"Fn::GetAtt": [LOST, "Arn"]}, "maxReceiveCount": 5}
    assert lost["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": [DEAD_LETTERS, "Arn"]},
        "maxReceiveCount": 1_000,
    }
    assert queue["MessageRetentionPeriod"] == 4 * DAY_S
    assert lost["MessageRetentionPeriod"] == dead_letters["MessageRetentionPeriod"] == 14 * DAY_S
    assert "RedrivePolicy" not in dead_letters


@pytest.mark.parametrize(("queue", "door", "most"), [(QUEUE, "worker", 5), (LOST, "api", 2)])
def test_each_message_starts_one_function_and_a_bounded_number_at_once(
    queue: str, door: str, most: int, any_stage: Mapping[str, Any]
) -> None:
    assert mapping(any_stage, queue) == {
        "EventSourceArn": {"Fn::GetAtt": [queue, "Arn"]},
        "FunctionName": {"Ref": function(any_stage, door)[0]},
        "BatchSize": 1,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": most},
    }


def test_a_lost_message_is_handed_out_again_only_when_its_function_is_dead(any_stage: Mapping[str, Any]) -> None:
    assert function(any_stage, "api")[1]["Timeout"] < properties(any_stage, LOST)["VisibilityTimeout"]


def test_the_function_that_takes_lost_messages_knows_where_to_keep_them(any_stage: Mapping[str, Any]) -> None:
    assert environment(any_stage, "api")["VOLCENGINE_TTS_DEAD_LETTERS"] == {"Ref": DEAD_LETTERS}


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


def test_a_new_version_never_starts_with_other_tables_another_bucket_or_other_queues(
    any_stage: Mapping[str, Any],
) -> None:
    """Another logical id would be a second pool for one account, or would lose every job and what it has paid for."""
    assert set(all_of(any_stage, "DynamoDB::Table")) == {POOLS, JOBS}
    assert set(all_of(any_stage, "S3::Bucket")) == {BUCKET}
    assert set(all_of(any_stage, "SQS::Queue")) == {QUEUE, LOST, DEAD_LETTERS}


def test_without_origins_the_api_answers_no_page_of_another_host(any_stage: Mapping[str, Any]) -> None:
    assert "CorsConfiguration" not in only(any_stage, "ApiGatewayV2::Api")


def test_the_origins_of_a_stage_may_call_the_api_and_no_others() -> None:
    template = composed(replace(CLOUD, cors_origins=("https://app.example.com",)))
    cors = only(template, "ApiGatewayV2::Api")["CorsConfiguration"]

    assert cors["AllowOrigins"] == ["https://app.example.com"]
    assert cors["AllowMethods"] == ["GET", "POST"]
    assert cors["AllowHeaders"] == ["content-type", "admin-api-key", "authorization"]
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
    assert set(any_stage["Outputs"]) == {
        "ApiUrl",
        "BucketName",
        "DeadLetterQueueUrl",
        "JobQueueUrl",
        "JobTableName",
        "LostQueueUrl",
        "PoolClientPolicyArn",
        "PoolTableName",
        "SecretArn",
    }
