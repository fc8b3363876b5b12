"""Addresses are read, refused with a remedy, and opened safely."""

import socket
import stat
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.worker_address import WorkerAddress


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/w0.sock", WorkerAddress(path="/run/w0.sock")),
        ("tcp:gpu1:7400", WorkerAddress(host="gpu1", port=7400)),
        ("tcp:[::1]:7400", WorkerAddress(host="::1", port=7400)),
    ],
)
def test_addresses_are_read(text: str, address: WorkerAddress) -> None:
    assert WorkerAddress.parse(text) == address


@pytest.mark.parametrize(
    "text", ["", "unix:w0", "tcp:gpu1", "tcp::1", "tcp:h:70000", "tcp:h:x", "http://h:1"]
)
def test_what_is_no_address_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match="write unix:"):
        WorkerAddress.parse(text)


def test_a_path_too_long_for_a_socket_is_refused() -> None:
    with pytest.raises(ConfigError, match="107 bytes"):
        WorkerAddress.parse("unix:/" + "x" * 107)


@pytest.mark.parametrize(
    ("text", "secret", "remedy"),
    [
        ("tcp:h:1", b"", "OFFHOOK_WORKER__SECRET"),
        ("tcp:h:1", b"short", "16 or more"),
        ("unix:/s", b"x", "16 or more"),
    ],
)
def test_secrets_are_demanded_over_tcp_and_must_be_long(text: str, secret: bytes, remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy):
        WorkerAddress.parse(text).check_secret(secret)
    WorkerAddress.parse("unix:/s").check_secret(b"")
    WorkerAddress.parse("tcp:h:1").check_secret(b"0123456789abcdef")


def test_a_socket_is_open_to_its_user_only_and_replaces_a_dead_one(tmp_path: Path) -> None:
    address = WorkerAddress(path=str(tmp_path / "w.sock"))
    with address.listen():
        assert stat.S_IMODE((tmp_path / "w.sock").stat().st_mode) == 0o600
        with pytest.raises(ConfigError, match="another worker"):
            address.listen()
    with address.listen():  # the first is closed, its name is still there
        assert [path.name for path in tmp_path.iterdir()] == ["w.sock"]
    address.remove()
    address.remove()
    assert not list(tmp_path.iterdir())


def test_an_address_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on unix:.*nowhere"):
        WorkerAddress(path=str(tmp_path / "nowhere" / "w.sock")).listen()
    with WorkerAddress(host="127.0.0.1", port=0).listen() as taken:
        with pytest.raises(ConfigError, match="cannot listen on tcp"):
            WorkerAddress(host="127.0.0.1", port=taken.getsockname()[1]).listen()


async def test_a_unix_stream_has_room_for_many_frames(tmp_path: Path) -> None:
    address = WorkerAddress(path=str(tmp_path / "w.sock"))
    with socket.socket(socket.AF_UNIX) as plain:
        usual = plain.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    with address.listen():
        _, writer = await address.connect()
        assert writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) > usual
        writer.close()
        await writer.wait_closed()
