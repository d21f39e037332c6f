"""OpenAI's own Python client at the deployed stack: nothing but base URL and key is changed."""

from __future__ import annotations

import asyncio
import io
import secrets
import wave
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import miniaudio
import openai
import pytest

from infra.local.lifecycle import Stack
from infra.local.places import LOOPBACK
from infra.local.simulator import Simulator
from tests.support.crowd import expected_audio
from volcengine_client.limits import AUDIO_BYTES_MAX

HELLO = "你好，世界。这句话说给另一种客户端听。"  # nobody else buys it on this stack
LONG = "A sentence for a long file, told slowly. " * 24


@pytest.fixture
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.api_url}v1", api_key=stack.admin_api_key) as made:
        yield made


async def test_a_program_for_openai_speaks_through_the_stack(
    client: openai.OpenAI, simulator: Simulator, tmp_path: Path
) -> None:
    def speak() -> tuple[bytes, str]:
        answer = client.audio.speech.create(model="gpt-4o-mini-tts", voice="onyx", input=HELLO)
        answer.write_to_file(tmp_path / "speech.mp3")
        return (tmp_path / "speech.mp3").read_bytes(), answer.response.headers["Content-Type"]

    audio, content_type = await asyncio.to_thread(speak)
    models = await asyncio.to_thread(lambda: [model.id for model in client.models.list()])
    record = await simulator.record()

    assert audio == expected_audio({"text": HELLO, "voice_type": "BV002_streaming"})
    assert content_type == "audio/mpeg"
    assert miniaudio.decode(audio).duration > 1
    assert "gpt-4o-mini-tts" in models
    assert (record.peak <= 10, record.refused) == (True, 0)


async def test_wrong_wishes_are_openais_errors(client: openai.OpenAI, simulator: Simulator) -> None:
    def refused(error: type[openai.APIStatusError], *, voice: str = "nova", **instead: str) -> tuple[str | None, ...]:
        shown = client.with_options(api_key=instead.pop("api_key", client.api_key))
        with pytest.raises(error) as told:
            shown.audio.speech.create(
                model="tts-1",
                voice=voice,
                input=HELLO,
                response_format=instead.get("response_format", "mp3"),  # type: ignore[arg-type]
            )
        return told.value.code, told.value.param

    aac = await asyncio.to_thread(refused, openai.BadRequestError, response_format="aac")
    voice = await asyncio.to_thread(refused, openai.BadRequestError, voice="no_such_voice")
    key = await asyncio.to_thread(refused, openai.AuthenticationError, api_key="wrong")
    record = await simulator.record()

    assert aac == ("unsupported_value", "response_format")
    assert voice == ("voice_not_granted", "voice")
    assert key == ("invalid_api_key", None)
    assert [call["voice_type"] for call in record.calls if call["voice_type"] != "no_such_voice"] == []


class ByItsName(httpx2.HTTPTransport):
    """Finds the API under a name of its own, as in AWS, where it is another place than S3; here both are one."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url.copy_with(host=LOOPBACK)
        headers = {**request.headers, "host": url.netloc.decode()}
        return super().handle_request(
            httpx2.Request(request.method, url, headers=headers, stream=request.stream, extensions=request.extensions)
        )


async def test_a_large_file_is_fetched_from_s3_and_the_key_does_not_go_there(
    stack: Stack, simulator: Simulator
) -> None:
    """Lambda could not answer with it (6 MB, base64 included); found again, it is the same."""
    api = urlsplit(stack.api_url)
    base_url = f"http://tts.example.com:{api.port}{api.path}v1"
    text = f"{secrets.token_hex(4)}. {LONG}"
    asked: list[httpx2.Request] = []
    connections = openai.DefaultHttpxClient(transport=ByItsName(), event_hooks={"request": [asked.append]})

    def speak() -> list[bytes]:
        with openai.OpenAI(base_url=base_url, api_key=stack.admin_api_key, http_client=connections) as client:
            answers = [
                client.audio.speech.create(model="tts-1", voice="nova", input=text, response_format="wav", speed=0.5)
                for _ in range(2)
            ]
            assert [answer.response.headers["Content-Type"] for answer in answers] == ["audio/wav"] * 2
            return [answer.content for answer in answers]

    await simulator.order(mean_ms=100)
    first, second = await asyncio.to_thread(speak)
    record = await simulator.record()

    assert first == second
    assert len(first) > AUDIO_BYTES_MAX
    with wave.open(io.BytesIO(first)) as file:
        assert file.getnframes() / file.getframerate() > AUDIO_BYTES_MAX / (2 * file.getframerate())
    assert [request.method for request in asked] == ["POST", "GET"] * 2
    assert ["Authorization" in request.headers for request in asked] == [True, False] * 2
    assert all("X-Amz-Signature" in str(request.url) for request in asked[1::2])
    assert sum(gauge["bought"] for gauge in record.gauges) == 1
