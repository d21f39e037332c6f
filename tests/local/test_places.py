"""Ports, private files, and one command at a time."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.errors import LocalStackError
from infra.local.places import PORTS, Places, held, make_private, port, read, write_private


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


@pytest.fixture
def busy_port(tmp_path: Path) -> Iterator[int]:
    with socket.socket() as listener:
        number = port(Places(tmp_path / "other"), "aws", wanted=None, setting="")
        listener.bind(("127.0.0.1", number))
        listener.listen()
        yield number


def test_a_busy_port_that_was_asked_for_is_refused_with_the_name_of_its_setting(places: Places, busy_port: int) -> None:
    with pytest.raises(LocalStackError, match=f"port {busy_port} .LOCAL_AWS_PORT. is busy"):
        port(places, "aws", wanted=busy_port, setting="LOCAL_AWS_PORT")


def test_the_port_of_last_time_is_used_again(places: Places) -> None:
    first = port(places, "upstream", wanted=None, setting="LOCAL_UPSTREAM_PORT")

    assert port(places, "upstream", wanted=None, setting="LOCAL_UPSTREAM_PORT") == first


def test_another_port_is_used_when_the_one_of_last_time_is_busy(places: Places, busy_port: int) -> None:
    write_private(places.ports_file, {"aws": busy_port})

    chosen = port(places, "aws", wanted=None, setting="LOCAL_AWS_PORT")

    assert chosen != busy_port
    assert read(places.ports_file) == {"aws": chosen}


def test_two_parts_remember_a_port_each(places: Places) -> None:
    chosen = {name: port(places, name, wanted=None, setting="") for name in ("aws", "upstream")}

    assert read(places.ports_file) == chosen
    assert all(number in PORTS for number in chosen.values())


def test_what_holds_a_key_is_readable_for_its_owner_only(places: Places) -> None:
    places.stack_file.write_text("{}", encoding="utf-8")
    places.stack_file.chmod(0o644)

    write_private(places.stack_file, {"admin_api_key": "k"})

    assert places.stack_file.stat().st_mode & 0o777 == 0o600
    assert read(places.stack_file) == {"admin_api_key": "k"}


def test_what_a_stack_keeps_is_nobody_elses_to_read(places: Places) -> None:
    with held(places):
        assert places.directory.stat().st_mode & 0o777 == 0o700


def test_half_a_file_is_no_file(places: Places) -> None:
    places.stack_file.write_text('{"api_url": "htt', encoding="utf-8")

    assert read(places.stack_file) is None


def test_a_second_command_is_refused_while_one_works_on_the_stack(places: Places) -> None:
    with held(places), pytest.raises(LocalStackError, match="another"), held(places):
        pass

    with held(places):  # and let in afterwards
        pass


def test_a_folder_that_somebody_else_made_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(LocalStackError, match="somebody else"):
        make_private(tmp_path / "link")


def test_two_stacks_have_a_folder_each_for_their_functions(tmp_path: Path) -> None:
    one, other = Places(tmp_path / "one"), Places(tmp_path / "other")

    assert one.scratch != other.scratch
    assert one.scratch == Places(tmp_path / "one").scratch
