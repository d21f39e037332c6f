"""OpenAI's own Python client at the self-hosted server: a process, real HTTP, the simulated upstream's audio."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import miniaudio
import openai
import pytest
from pydantic import SecretStr

from infra.local.upstream import Account, Rules, Upstream, Wishes, audio_of
from tests.support.server_process import ACCESS_KEY, ADMIN_KEY, APP_ID, CONCURRENCY, Process, running

HELLO = "你好，世界。这是一句话。"
RATE, SAMPLE_BYTES = 24_000, 2


@dataclass
class Place:
    """The upstream, the server over it, and where clients find it."""

    upstream: Upstream
    serving: Process

    @property
    def base_url(self) -> str:
        return f"{self.serving.url}/v1"

    def client(self, *, api_key: str = ADMIN_KEY) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.base_url, api_key=api_key)


@asynccontextmanager
async def place(folder: Path, **settings: str) -> AsyncIterator[Place]:
    account = Account(app_id=APP_ID, token=SecretStr(ACCESS_KEY), limit=CONCURRENCY)
    upstream = Upstream(Rules(accounts=(account,), mean_ms=100, sigma=0))
    await upstream.start()
    try:
        async with running(folder, upstream, **settings) as serving:
            yield Place(upstream, serving)
            assert upstream.gauge(APP_ID).peak <= CONCURRENCY
            assert "canary" not in "".join(serving.log)
    finally:
        await upstream.stop()


def spoken(text: str, voice_type: str, encoding: str, *, speed: float = 1.0) -> bytes:
    return audio_of(Wishes(text, voice_type, encoding, speed=speed)).file


async def test_nothing_changes_but_the_base_url_and_the_key(tmp_path: Path) -> None:
    """The blocking client, as most programs have it."""
    async with place(tmp_path) as here:

        def speak() -> tuple[bytes, str, list[str]]:
            with openai.OpenAI(base_url=here.base_url, api_key=ADMIN_KEY, project="bookshop") as client:
                answer = client.audio.speech.create(model="gpt-4o-mini-tts", voice="onyx", input=HELLO)
                answer.write_to_file(tmp_path / "speech.mp3")
                models = [model.id for model in client.models.list()]
                return (tmp_path / "speech.mp3").read_bytes(), answer.response.headers["Content-Type"], models

        audio, content_type, models = await asyncio.to_thread(speak)

    assert audio == spoken(HELLO, "BV002_streaming", "mp3")
    assert content_type == "audio/mpeg"
    assert miniaudio.decode(audio).duration > 1
    assert "gpt-4o-mini-tts" in models


async def test_each_format_is_what_it_says(tmp_path: Path) -> None:
    async with place(tmp_path) as here, here.client() as client:
        wav = await client.audio.speech.create(model="tts-1", voice="nova", input=HELLO, response_format="wav")
        pcm = await client.audio.speech.create(model="tts-1", voice="nova", input=HELLO, response_format="pcm")
        slow = await client.audio.speech.create(
            model="tts-1", voice="nova", input=HELLO, response_format="pcm", speed=0.5
        )
        for response_format in ("aac", "flac"):
            with pytest.raises(openai.BadRequestError) as refused:
                await client.audio.speech.create(
                    model="tts-1", voice="nova", input=HELLO, response_format=response_format
                )
            assert (refused.value.code, refused.value.param) == ("unsupported_value", "response_format")

    with wave.open(io.BytesIO(wav.content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, SAMPLE_BYTES)
        assert file.readframes(file.getnframes()) == pcm.content
    assert wav.response.headers["Content-Type"] == "audio/wav"
    assert pcm.response.headers["Content-Type"] == "audio/pcm"
    assert slow.content == spoken(HELLO, "BV001_streaming", "pcm", speed=0.5)
    assert len(slow.content) > 1.8 * len(pcm.content)


async def test_a_stream_is_read_while_it_comes(tmp_path: Path) -> None:
    async with (
        place(tmp_path) as here,
        here.client() as client,
        client.audio.speech.with_streaming_response.create(model="tts-1", voice="nova", input=HELLO) as answer,
    ):
        audio = b"".join([piece async for piece in answer.iter_bytes()])

    assert audio == spoken(HELLO, "BV001_streaming", "mp3")


async def test_a_wrong_key_and_a_wrong_voice_are_openais_errors(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        async with here.client(api_key="canary-wrong") as stranger:
            with pytest.raises(openai.AuthenticationError) as unknown:
                await stranger.audio.speech.create(model="tts-1", voice="nova", input=HELLO)
        async with here.client() as client:
            with pytest.raises(openai.BadRequestError) as refused:
                await client.audio.speech.create(model="tts-1", voice="no_such_voice", input=HELLO)
            with pytest.raises(openai.NotFoundError) as missing:
                await client.chat.completions.create(model="tts-1", messages=[])
        bought = here.upstream.gauge(APP_ID).bought

    assert bought == 0
    assert unknown.value.code == "invalid_api_key"
    assert (refused.value.code, refused.value.param) == ("voice_not_granted", "voice")
    assert missing.value.code == "unknown_url"


async def test_many_at_once_stay_within_the_limit_and_equal_ones_are_bought_once(tmp_path: Path) -> None:
    """The server queues what OpenAI's client would have to retry."""
    texts = [f"第{number}句话。" for number in range(8)] + ["同一句话。"] * 4
    async with place(tmp_path) as here, here.client() as client:
        answers = await asyncio.gather(
            *(client.audio.speech.create(model="tts-1", voice="nova", input=text) for text in texts)
        )
        gauge = here.upstream.gauge(APP_ID)

    assert [answer.content for answer in answers] == [spoken(text, "BV001_streaming", "mp3") for text in texts]
    assert (gauge.peak, gauge.bought, gauge.refusals.total()) == (CONCURRENCY, len(set(texts)), 0)


async def test_audio_without_room_is_fetched_where_it_is_kept(tmp_path: Path) -> None:
    """The client follows by itself."""
    async with (
        place(tmp_path, VOLCENGINE_TTS_ANSWER_BYTES_MAX="40000") as here,
        here.client() as client,
    ):
        answer = await client.audio.speech.create(model="tts-1", voice="nova", input=HELLO, response_format="wav")

    assert answer.content == spoken(HELLO, "BV001_streaming", "wav")
    assert [one.status_code for one in answer.response.history] == [303]
    assert answer.response.headers["Content-Type"] == "audio/wav"


async def test_the_operators_voices_are_used(tmp_path: Path) -> None:
    voices = '{"alloy":"en_male_jason_conversation_wvae_bigtts"}'
    async with place(tmp_path, VOLCENGINE_TTS_OPENAI_VOICES=voices) as here, here.client() as client:
        answer = await client.audio.speech.create(
            model="tts-1", voice="alloy", input="Hello, world.", response_format="wav"
        )

    assert answer.content == spoken("Hello, world.", "en_male_jason_conversation_wvae_bigtts", "wav")
