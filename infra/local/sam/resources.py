"""What the function finds in an AWS account: tables of pools and jobs, a bucket, a queue, and a secret."""

from __future__ import annotations

import json

from infra.local import embedded_aws


def jobs_of(name: str) -> str:
    """Return the name of the table of the jobs; everything else is called *name* itself."""
    return f"{name}-jobs"


def make(aws_url: str, name: str, **secret: str | int) -> None:
    """Make everything in the emulated AWS; the secret holds what is given."""
    for table, key in ((name, "pool"), (jobs_of(name), "job_id")):
        embedded_aws.client("dynamodb", aws_url).create_table(
            TableName=table,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    embedded_aws.client("s3", aws_url).create_bucket(Bucket=name)
    embedded_aws.client("sqs", aws_url).create_queue(QueueName=name)
    embedded_aws.client("secretsmanager", aws_url).create_secret(Name=name, SecretString=json.dumps(secret))
