"""Findings of cdk-nag that stay, each with its reason. Every other finding stops the synthesis."""

from __future__ import annotations

from collections.abc import Iterable

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct

from infra.speech_bucket import JOBS, SPEECH, SpeechBucket

NO_ROTATION = (
    "The secret holds the app id and access key of an account at another company, which issues them in its console "
    "and has no interface to change them, so there is nothing that a rotation function could call. The operator "
    "puts a new key in by hand, and the gateway takes it up within minutes."
)
TRACES_HAVE_NO_RESOURCE = (
    "xray:PutTraceSegments and xray:PutTelemetryRecords know no resource to restrict them to. A test holds that no "
    "other action of this role is granted on a wildcard."
)
PYTHON_AS_TESTED = (
    "Python 3.13 is supported by Lambda until 2029. The pinned wheels and the suite that runs the handler are its; "
    "the runtime changes together with them, not when a newer one appears."
)
KEY_CHECKED_BY_THE_FUNCTION = (
    "Callers show an admin key, which the function compares in constant time with the secret, or bring an account of "
    "their own where the stage allows it; the health check is open on purpose. An authorizer would need the same "
    "secret and could not tell these cases apart without the body. API Gateway throttles all of them."
)
OBJECTS_HAVE_MANY_NAMES = (
    "The names of objects are made of random ids and hashes, so only their prefix can be granted. The bucket is the "
    "stack's own and holds nothing else."
)
NO_ACCESS_LOG = (
    "Only the two functions may read and write here, and whoever got a link from them, which ends. S3's log would hold "
    "the names of objects, which are random ids and keyed hashes, and would need a second bucket to keep it in. Who "
    "asked for a link is in the API's own access log. CloudTrail can watch the bucket without a change of the stack."
)


def acknowledge(*, account: IConstruct, functions: Iterable[IConstruct], api: IConstruct, bucket: SpeechBucket) -> None:
    """Record the findings that stay on the parts they are about."""
    _acknowledge(account, "SMG4", NO_ROTATION)
    for function in functions:
        _acknowledge(function, "IAM5[Resource::*]", TRACES_HAVE_NO_RESOURCE)
        _acknowledge(function, "L1", PYTHON_AS_TESTED)
        for prefix in (JOBS, SPEECH):
            _acknowledge(function, f"IAM5[Resource::<{bucket.logical_id}.Arn>/{prefix}*]", OBJECTS_HAVE_MANY_NAMES)
    _acknowledge(api, "APIG4", KEY_CHECKED_BY_THE_FUNCTION)
    _acknowledge(bucket, "S1", NO_ACCESS_LOG)


def _acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    Validations.of(construct).acknowledge(Acknowledgment(id=f"AwsSolutions::AwsSolutions-{rule}", reason=reason))
