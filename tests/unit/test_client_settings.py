"""What the client library refuses before anything is called, and what it saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from volcengine_client import CredentialsError, TaskItem, TaskResult, VolcengineConcurrentTTS, create_client
from volcengine_client.speech.login import Login


@pytest.mark.parametrize(
    "wrong",
    [
        {"app_id": ""},
        {"app_id": 1234567890},
        {"access_key": ""},
        {"access_key": "with space"},
        {"concurrency": 0},
        {"concurrency": -1},
        {"concurrency": 1_001},
        {"concurrency": True},
        {"concurrency": "10"},
        {"concurrency": {"seed-tts-2.0": 0}},
        {"app": ""},
        {"app": 5},
        {"app": "a/b"},
        {"weight": 0},
        {"pool": 5},
        {"endpoint": "ftp://x"},
    ],
)
def test_a_wrong_setting_is_a_value_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+") as told:
        VolcengineConcurrentTTS(**{"app_id": "a", "access_key": "the-key", **wrong})

    assert "the-key" not in str(told.value)


@pytest.mark.parametrize(
    ("given", "environment", "login"),
    [
        ({"api_key": "k"}, {}, Login(api_key="k")),
        ({"api_key": "k"}, {"APPID": "a", "ACCESS_KEY": "b"}, Login(api_key="k")),
        ({"app_id": "a", "access_key": "b", "api_key": "k"}, {}, Login("a", "b", "k")),
        ({"app_id": "a", "access_key": "b"}, {"API_KEY": "other's"}, Login("a", "b")),
        ({"app_id": "a"}, {"ACCESS_KEY": "b"}, Login("a", "b")),
        ({}, {"APPID": "a", "ACCESS_KEY": "b", "API_KEY": "k"}, Login("a", "b", "k")),
        ({}, {"API_KEY": "k"}, Login(api_key="k")),
    ],
)
def test_an_account_is_a_pair_or_an_api_key_or_both(
    given: dict[str, str], environment: dict[str, str], login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("APPID", "ACCESS_KEY", "API_KEY"):
        monkeypatch.delenv(f"VOLCENGINE_TTS_{name}", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(f"VOLCENGINE_TTS_{name}", value)

    assert VolcengineConcurrentTTS(**given)._login == login  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{}, {"app_id": "a"}, {"app_id": "a", "api_key": "k"}, {"api_key": 5}])
def test_half_a_pair_is_refused_beside_an_api_key_too(wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APPID", "ACCESS_KEY", "API_KEY"):
        monkeypatch.delenv(f"VOLCENGINE_TTS_{name}", raising=False)

    with pytest.raises(CredentialsError):
        VolcengineConcurrentTTS(**wrong)


def test_products_with_limits_of_their_own_have_pools_of_their_own() -> None:
    client = create_client("a", "k", {"seed-tts-2.0": 20, "default": 3})
    counted = {product: (counter.pool.name, counter.terms.hold_max) for product, counter in client._counters.items()}

    assert counted == {"": ("client", 3), "seed-tts-2.0": ("client:seed-tts-2.0", 20)}


def test_no_tasks_need_no_upstream() -> None:
    with create_client("a", "k", concurrency=3) as client:
        assert client.generate_batch_sync([]) == []


def test_audio_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    client = create_client("a", "k")
    spoken = TaskResult(task_id="t", audio_base64="YXVkaW8=")

    assert client.save_audio_file(spoken, tmp_path / "a.mp3")
    assert not client.save_audio_file(spoken, tmp_path / "missing" / "a.mp3")
    assert not client.save_audio_file(spoken, tmp_path)
    assert not client.save_audio_file(spoken, "")
    assert not client.save_audio_file(spoken, str(tmp_path / "a\0b"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp3"]
    assert (tmp_path / "a.mp3").read_bytes() == client.get_audio_bytes(spoken) == b"audio"


def test_a_task_is_made_by_position_and_by_name() -> None:
    by_position = TaskItem("id", "text", "BV002_streaming", "a.mp3")
    by_name = TaskItem(task_id="id", text="text", voice_type="BV002_streaming", output_filename="a.mp3")

    assert by_position == by_name
    assert TaskItem("id", "text").voice_type == "BV001_streaming"
