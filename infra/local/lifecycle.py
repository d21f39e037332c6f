"""The life of a local stack: emulated AWS, upstream and the real deployment, brought up and stopped."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from infra.local import deployment, embedded_aws, processes, simulator
from infra.local.deployment import Deployment, DeploymentError
from infra.local.places import Places, port, read, write_private
from infra.local.processes import Daemon
from infra.local.settings import Settings
from infra.local.waiting import answers, ready, until
from volcengine_client.clock import Clock

API_READY_MAX_MS = 60_000  # from the deployment to the first answer of a cold function

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A running local stack, as `stack.json` tells it.

    Attributes:
        api_url: The gateway; ends with a slash, and takes a path with or without one at its beginning.
        admin_api_key: The gateway's key.
        aws_endpoint_url: The emulated AWS, for SDKs; any key will do.
        upstream_url: The upstream, simulated or not.
        pool_table: The DynamoDB table of the pools.
        job_table: The DynamoDB table of the jobs.
        bucket: The S3 bucket of texts and audio.
        job_queue: Address of the SQS queue of the jobs.
        lost_queue: Address of the queue of the messages that failed too often.
        dead_letter_queue: Address of the queue of the same, once their jobs say so.
        region: Where the emulated AWS believes to be.
        secret_id: The secret with the account and the key.
        stage: The deployed stage.
        directory: What the stack keeps: its logs, and what the emulated AWS remembers.
        functions_directory: Every process of a function has a file in it as its argument.
        is_upstream_simulated: `GET /_simulator` of the upstream tells what it saw.
    """

    api_url: str
    admin_api_key: str = field(repr=False)
    aws_endpoint_url: str
    upstream_url: str
    pool_table: str
    job_table: str
    bucket: str
    job_queue: str
    lost_queue: str
    dead_letter_queue: str
    region: str
    secret_id: str
    stage: str
    directory: str
    functions_directory: str
    is_upstream_simulated: bool


def running(places: Places, wanted: Settings) -> Stack | None:
    """Return the stack that runs, if it is whole and just as *wanted* and the source say."""
    record, stack = read(places.processes_file), read(places.stack_file)
    if record is None or stack is None or record["settings"] != wanted.digest:
        return None
    if stack.keys() != {one.name for one in fields(Stack)}:
        return None  # an older version's
    if any(daemon.process is None for daemon in _daemons(record)):
        return None
    return Stack(**stack) if record["fingerprint"] == _fingerprint(wanted, stack["upstream_url"]) else None


def is_anything_up(places: Places) -> bool:
    """Say whether any process of a stack runs, whole or not."""
    return any(daemon.process is not None for daemon in _daemons(read(places.processes_file)))


async def up(places: Places, wanted: Settings, *, clock: Clock, say: Say) -> Stack:
    """Bring up the stack, or leave it alone when it is up already. Whatever fails, nothing is left half up.

    Raises:
        LocalStackError: It can't be brought up; says why.
    """
    if (stack := running(places, wanted)) is not None:
        return stack
    if await asyncio.to_thread(down, places):
        say("the stack that was up is not the one wanted: restarting it")
    try:
        return await _start(places, wanted, clock=clock, say=say)
    except DeploymentError:
        await asyncio.to_thread(down, places)
        shutil.rmtree(places.emulated(wanted.stage), ignore_errors=True)
        raise
    except BaseException:
        await asyncio.to_thread(down, places)
        raise


def down(places: Places) -> bool:
    """Stop the stack, all its processes, and remove what only made sense while it ran; say whether it was up."""
    was_up = is_anything_up(places)
    processes.stop(_daemons(read(places.processes_file)))
    processes.end_orphans(places.scratch)
    for file in (places.stack_file, places.processes_file):
        file.unlink(missing_ok=True)
    shutil.rmtree(places.scratch, ignore_errors=True)
    return was_up


async def _start(places: Places, wanted: Settings, *, clock: Clock, say: Say) -> Stack:
    record: dict[str, Any] = {"settings": wanted.digest, "fingerprint": "", "daemons": []}

    async def settled(daemon: Daemon, health_url: str) -> None:
        record["daemons"].append(daemon.record)
        write_private(places.processes_file, record)
        await ready(daemon, health_url, log=places.log(daemon.name), clock=clock)

    aws_port = port(places, "aws", wanted=wanted.aws_port, setting="LOCAL_AWS_PORT")
    say(f"starting the emulated AWS on port {aws_port}")
    await settled(embedded_aws.launch(places, stage=wanted.stage, port=aws_port), embedded_aws.health_url(aws_port))
    upstream_url = wanted.endpoint
    if upstream_url is None:
        upstream_port = port(places, "upstream", wanted=wanted.upstream_port, setting="LOCAL_UPSTREAM_PORT")
        say(f"starting the simulated upstream on port {upstream_port}")
        daemon = simulator.launch(places, wanted, port=upstream_port)
        upstream_url = simulator.url(upstream_port)
        await settled(daemon, simulator.report_url(upstream_url))
    aws_url = embedded_aws.endpoint(aws_port)
    made = await _deployed(places, wanted, aws_url=aws_url, upstream_url=upstream_url, say=say)
    stack = Stack(
        api_url=f"{aws_url}/_aws/execute-api/{made.api_id}/",
        admin_api_key=_fill_secret(made, wanted, aws_url),
        aws_endpoint_url=aws_url,
        upstream_url=upstream_url,
        pool_table=made.pool_table,
        job_table=made.job_table,
        bucket=made.bucket,
        job_queue=made.job_queue,
        lost_queue=made.lost_queue,
        dead_letter_queue=made.dead_letter_queue,
        region=embedded_aws.REGION,
        secret_id=made.secret_id,
        stage=wanted.stage,
        directory=str(places.directory),
        functions_directory=str(places.scratch),
        is_upstream_simulated=wanted.endpoint is None,
    )
    if stack.is_upstream_simulated:
        _empty_pools(stack)
    _forget_jobs(stack)
    await until(lambda: answers(stack.api_url), what="the gateway answers", within_ms=API_READY_MAX_MS, clock=clock)
    write_private(places.stack_file, asdict(stack))
    write_private(places.processes_file, {**record, "fingerprint": made.fingerprint})
    return stack


async def _deployed(places: Places, wanted: Settings, *, aws_url: str, upstream_url: str, say: Say) -> Deployment:
    made = deployment.present(aws_url)
    if made is not None and made.fingerprint == _fingerprint(wanted, upstream_url):
        return made
    say("deploying with the CDK (half a minute; not again until something changes)")
    return await deployment.deploy(
        places,
        stage=wanted.stage,
        upstream_url=upstream_url,
        callback_test_hosts=wanted.callback_test_hosts,
        endpoint_url=aws_url,
    )


def _fingerprint(wanted: Settings, upstream_url: str) -> str:
    return deployment.fingerprint(
        stage=wanted.stage, upstream_url=upstream_url, callback_test_hosts=wanted.callback_test_hosts
    )


def _fill_secret(made: Deployment, wanted: Settings, aws_url: str) -> str:
    """Put the account into the server's secret; return the admin key, which stays what it was if none is wanted."""
    client = embedded_aws.client("secretsmanager", aws_url)
    held = json.loads(client.get_secret_value(SecretId=made.secret_id)["SecretString"])
    generated = str(held.get("admin_api_key", ""))
    # The emulator's generator puts in quotes and backslashes, whatever the template excludes: no key for a shell.
    admin_key = wanted.admin_key or (generated if generated.isalnum() else secrets.token_hex(24))
    filled = {
        **held,
        "volcengine_tts_appid": wanted.app_id,
        "volcengine_tts_access_key": wanted.access_key,
        "volcengine_tts_api_key": wanted.api_key,
        "volcengine_tts_concurrency": wanted.concurrency,
        "admin_api_key": admin_key,
    }
    if filled != held:
        client.put_secret_value(SecretId=made.secret_id, SecretString=json.dumps(filled))
    return admin_key


def _empty_pools(stack: Stack) -> None:
    """Forget slots that an interrupted run left taken: every function and the upstream itself have just begun anew."""
    _empty(stack, stack.pool_table, key="pool")


def _forget_jobs(stack: Stack) -> None:
    """Forget the jobs of before: the emulated AWS keeps no file when it ends, so they have neither texts nor audio."""
    queues = embedded_aws.client("sqs", stack.aws_endpoint_url)
    for address in (stack.job_queue, stack.lost_queue, stack.dead_letter_queue):
        queues.purge_queue(QueueUrl=address)
    _empty(stack, stack.job_table, key="job_id")


def _empty(stack: Stack, table: str, *, key: str) -> None:
    client = embedded_aws.client("dynamodb", stack.aws_endpoint_url)
    for page in client.get_paginator("scan").paginate(TableName=table):
        for item in page["Items"]:
            client.delete_item(TableName=table, Key={key: item[key]})


def _daemons(record: Any) -> list[Daemon]:
    return [Daemon.parse(daemon) for daemon in (record or {}).get("daemons", ())]
