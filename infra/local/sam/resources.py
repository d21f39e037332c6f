"""What the function finds in an AWS account: a table for the pools and a secret with the account."""

from __future__ import annotations

import json

from infra.local import embedded_aws


def make(aws_url: str, name: str, **secret: str | int) -> None:
    """Make a table and a secret, both called *name*, in the emulated AWS; the secret holds what is given."""
    embedded_aws.client("dynamodb", aws_url).create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pool", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pool", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    embedded_aws.client("secretsmanager", aws_url).create_secret(Name=name, SecretString=json.dumps(secret))
