"""The HTTP API in front of the function."""

from __future__ import annotations

import json
from collections.abc import Sequence

import jsii
from aws_cdk import Duration, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from constructs import Construct

from infra.stages import Stage

# No path, query, header or body: what a caller puts there may be a key or a text (I6).
ACCESS_LOG_FIELDS = {
    "requestId": "requestId",
    "requestTime": "requestTime",
    "method": "httpMethod",
    "protocol": "protocol",
    "status": "status",
    "responseBytes": "responseLength",
    "latencyMs": "responseLatency",
    "integrationStatus": "integrationStatus",
    "integrationLatencyMs": "integrationLatency",
    "error": "error.responseType",
    "sourceIp": "identity.sourceIp",
}


@jsii.implements(apigatewayv2.IAccessLogSettings)
class AccessLog:
    """Which line API Gateway writes for a request, and where."""

    def __init__(self, group: logs.ILogGroup) -> None:
        self._group = group

    @property
    def destination(self) -> apigatewayv2.IAccessLogDestination:
        return apigatewayv2.LogGroupLogDestination(self._group)

    @property
    def format(self) -> apigateway.AccessLogFormat:
        fields = {name: f"$context.{variable}" for name, variable in ACCESS_LOG_FIELDS.items()}
        return apigateway.AccessLogFormat.custom(json.dumps(fields))


class HttpApi(Construct):
    """Every request goes to one function, which knows the routes.

    Attributes:
        url: Where callers find it; without a slash at its end.
        domain_target: What the DNS record of an own host name must point at; None without one.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        function: lambda_.IFunction,
        access_log: logs.ILogGroup,
    ) -> None:
        super().__init__(scope, construct_id)
        api = apigatewayv2.HttpApi(
            self,
            "Api",
            api_name=Stack.of(self).stack_name,
            description="Volcano Engine text-to-speech gateway",
            create_default_stage=False,
            cors_preflight=_preflight(stage.cors_origins) if stage.cors_origins else None,
            # No time-out: API Gateway's own, `limits.GATEWAY_TIMEOUT_MS`, is the longest there is.
            default_integration=HttpLambdaIntegration("Function", function),
        )
        domain = self._domain(stage) if stage.domain_name else None
        apigatewayv2.HttpStage(
            self,
            "Stage",
            http_api=api,
            auto_deploy=True,
            throttle=apigatewayv2.ThrottleSettings(
                rate_limit=stage.throttle_rate_per_s, burst_limit=stage.throttle_burst_requests
            ),
            access_log_settings=AccessLog(access_log),
            domain_mapping=apigatewayv2.DomainMappingOptions(domain_name=domain) if domain else None,
        )
        self.url = f"https://{stage.domain_name}" if domain else api.api_endpoint
        self.domain_target = domain.regional_domain_name if domain else None

    def _domain(self, stage: Stage) -> apigatewayv2.DomainName:
        certificate = acm.Certificate.from_certificate_arn(self, "Certificate", stage.certificate_arn)
        return apigatewayv2.DomainName(self, "Domain", domain_name=stage.domain_name, certificate=certificate)


def _preflight(origins: Sequence[str]) -> apigatewayv2.CorsPreflightOptions:
    return apigatewayv2.CorsPreflightOptions(
        allow_origins=list(origins),
        allow_methods=[apigatewayv2.CorsHttpMethod.GET, apigatewayv2.CorsHttpMethod.POST],
        allow_headers=["content-type", "admin-api-key", "authorization"],
        expose_headers=["retry-after"],
        max_age=Duration.hours(1),
    )
