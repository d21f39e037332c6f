"""The bucket for what is spoken and what is to be spoken."""

from __future__ import annotations

from aws_cdk import CfnElement, Duration, RemovalPolicy
from aws_cdk import aws_s3 as s3
from constructs import Construct

JOBS = "jobs/"
SPEECH = "speech/"
ABANDONED_UPLOADS_KEPT_DAYS = 1


class SpeechBucket(Construct):
    """Texts and results of jobs under `jobs/`, audio under `speech/`.

    Private and encrypted, and everything in it ends (I6): a job's objects a day after the job, since a list of tasks
    may be uploaded before the job that it belongs to begins.

    Attributes:
        bucket: Not versioned, so that what has expired is gone.
        object_arns: Of everything that may lie in it.
        logical_id: Of the bucket in the template.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, jobs_kept_days: int, speech_kept_days: int, is_data_kept: bool
    ) -> None:
        super().__init__(scope, construct_id)
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            lifecycle_rules=[
                _expiry(JOBS, after_days=jobs_kept_days + 1),
                _expiry(SPEECH, after_days=speech_kept_days),
                s3.LifecycleRule(
                    id="abandoned-uploads",
                    abort_incomplete_multipart_upload_after=Duration.days(ABANDONED_UPLOADS_KEPT_DAYS),
                ),
            ],
            removal_policy=RemovalPolicy.RETAIN if is_data_kept else RemovalPolicy.DESTROY,
        )
        template_s_own = self.bucket.node.default_child
        assert isinstance(template_s_own, CfnElement)
        self.logical_id = self.bucket.stack.get_logical_id(template_s_own)
        self.object_arns = [self.bucket.arn_for_objects(f"{prefix}*") for prefix in (JOBS, SPEECH)]


def _expiry(prefix: str, *, after_days: int) -> s3.LifecycleRule:
    return s3.LifecycleRule(id=prefix.rstrip("/"), prefix=prefix, expiration=Duration.days(after_days))
