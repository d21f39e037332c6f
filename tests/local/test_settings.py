"""What `make up` takes from the environment."""

from __future__ import annotations

import pytest

from infra.local.errors import LocalStackError
from infra.local.settings import SIMULATED_APP_ID, parsed

ACCOUNT = {"VOLCENGINE_TTS_APPID": "777", "VOLCENGINE_TTS_ACCESS_KEY": "a-secret"}


def test_nothing_given_means_stage_local_with_the_simulator_and_ten_slots() -> None:
    wanted = parsed({})

    assert (wanted.stage, wanted.endpoint, wanted.app_id, wanted.concurrency) == ("local", None, SIMULATED_APP_ID, 10)
    assert wanted.aws_port is None
    assert wanted.upstream_port is None


def test_an_empty_value_is_as_good_as_none() -> None:
    assert parsed({"VOLCENGINE_TTS_ENDPOINT": " ", "VOLCENGINE_TTS_APPID": "", "STAGE": None}) == parsed({})


def test_an_account_and_its_upstream_are_taken_as_given() -> None:
    wanted = parsed({**ACCOUNT, "VOLCENGINE_TTS_CONCURRENCY": "3", "VOLCENGINE_TTS_ENDPOINT": "http://127.0.0.1:9000/"})

    assert (wanted.app_id, wanted.access_key, wanted.concurrency) == ("777", "a-secret", 3)
    assert wanted.endpoint == "http://127.0.0.1:9000"


def test_an_api_key_may_stand_alone_or_beside_the_pair() -> None:
    alone, beside = parsed({"VOLCENGINE_TTS_API_KEY": "k"}), parsed({**ACCOUNT, "VOLCENGINE_TTS_API_KEY": "k"})

    assert (alone.app_id, alone.access_key, alone.api_key) == ("", "", "k")
    assert (beside.app_id, beside.access_key, beside.api_key) == ("777", "a-secret", "k")


@pytest.mark.parametrize(
    "address", ["127.0.0.1:9000", "http://upstream.example", "http://127.0.0.1:9000/api", "ftp://127.0.0.1"]
)
def test_an_upstream_to_which_a_key_would_travel_in_clear_text_is_refused(address: str) -> None:
    with pytest.raises(LocalStackError, match="VOLCENGINE_TTS_ENDPOINT"):
        parsed({"VOLCENGINE_TTS_ENDPOINT": address})


@pytest.mark.parametrize("name", sorted(ACCOUNT))
def test_half_an_account_is_refused(name: str) -> None:
    with pytest.raises(LocalStackError, match="together or not at all"):
        parsed({name: ACCOUNT[name]})


@pytest.mark.parametrize("name", ["VOLCENGINE_TTS_CONCURRENCY", "LOCAL_AWS_PORT", "LOCAL_UPSTREAM_PORT"])
@pytest.mark.parametrize("value", ["0", "-1", "ten", "1.5", "70000", "²"])
def test_a_number_that_makes_no_sense_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(LocalStackError, match=name):
        parsed({name: value})


def test_hosts_of_callbacks_are_taken_as_the_stage_wants_them() -> None:
    wanted = parsed({"VOLCENGINE_TTS_CALLBACK_TEST_HOSTS": " 127.0.0.1:9000 , Localhost:9001,"})

    assert wanted.callback_test_hosts == "127.0.0.1:9000,localhost:9001"
    assert wanted.digest != parsed({}).digest


@pytest.mark.parametrize("hosts", ["127.0.0.1", "http://127.0.0.1:9000", "a:0", "a:1 b:2"])
def test_a_host_of_callbacks_without_a_port_is_refused(hosts: str) -> None:
    with pytest.raises(LocalStackError, match="VOLCENGINE_TTS_CALLBACK_TEST_HOSTS"):
        parsed({"VOLCENGINE_TTS_CALLBACK_TEST_HOSTS": hosts})


def test_the_cloud_is_no_stage_of_the_local_stack() -> None:
    with pytest.raises(LocalStackError, match="STAGE is 'cloud'"):
        parsed({"STAGE": "cloud"})


def test_other_settings_have_another_digest_and_no_key_shows() -> None:
    one, other = parsed(ACCOUNT), parsed({**ACCOUNT, "VOLCENGINE_TTS_ACCESS_KEY": "another-secret"})

    assert one.digest != other.digest
    assert one.digest == parsed(ACCOUNT).digest
    assert "a-secret" not in repr(one)
