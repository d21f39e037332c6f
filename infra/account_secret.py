"""The secret that holds the upstream account and the admin key."""

from __future__ import annotations

import json

from aws_cdk import RemovalPolicy
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

# CloudFormation writes the secret anew, over what the operator put in, when one character of its generator changes.
# So this is what a new stack starts with, for ever; see decisions/secret.md.
FIRST_VALUE = json.dumps(
    {
        "volcengine_tts_appid": "",
        "volcengine_tts_access_key": "",
        "volcengine_tts_concurrency": 10,
    }
)


class AccountSecret(Construct):
    """A generated admin key, and room for the account that the operator fills in after the first deployment.

    Attributes:
        secret: JSON with the keys of `FIRST_VALUE` and `admin_api_key`.
    """

    def __init__(self, scope: Construct, construct_id: str, *, is_data_kept: bool) -> None:
        super().__init__(scope, construct_id)
        self.secret = secretsmanager.Secret(
            self,
            "Secret",
            description="Volcano Engine speech account and admin key of the text-to-speech gateway",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template=FIRST_VALUE,
                generate_string_key="admin_api_key",
                password_length=48,
                exclude_punctuation=True,
            ),
            removal_policy=RemovalPolicy.RETAIN if is_data_kept else RemovalPolicy.DESTROY,
        )
