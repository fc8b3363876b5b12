import socket
import threading
from collections.abc import Iterator

import pytest

from telephony.errors import AddressTaken, TelephonyError
from telephony.settings import SipSettings
from telephony.sip_gate import open_gate
from telephony.sip_thread import SipThread

SETTINGS = SipSettings(port=0, max_calls=1)


class NoWork:
    """A library without a call."""

    def __init__(self) -> None:
        self.opened_on = self.closed_on = ""

    def open(self) -> None:
        self.opened_on = threading.current_thread().name

    def each_second(self) -> None:
        pass

    def after_events(self) -> None:
        pass

    def hang_up_all(self) -> None:
        pass

    def is_idle(self) -> bool:
        return True

    def close(self) -> None:
        self.closed_on = threading.current_thread().name

    def account_id(self, source: str) -> int:
        return 0

    def open_gate(self) -> None:
        open_gate(SETTINGS, [])


@pytest.fixture
def thread() -> Iterator[SipThread]:
    thread = SipThread(SETTINGS, NoWork())
    thread.start()
    yield thread
    thread.stop()


def test_functions_run_on_the_one_thread_and_their_errors_come_back(thread: SipThread) -> None:
    names = [thread.submit(lambda: threading.current_thread().name).result(5) for _ in range(3)]
    assert names == ["sip"] * 3
    with pytest.raises(ZeroDivisionError):
        thread.submit(lambda: 1 // 0).result(5)
    assert thread.submit(lambda: 42).result(5) == 42, "the thread lives on"


def test_the_library_starts_again_in_the_same_program() -> None:
    for _ in range(2):
        work = NoWork()
        thread = SipThread(SETTINGS, work)
        thread.start()
        assert thread.udp_port > 0 and thread.tcp_port > 0
        thread.stop()
        thread.stop()
        assert (work.opened_on, work.closed_on) == ("sip", "sip")
        with pytest.raises(TelephonyError, match="stopped"):
            thread.submit(lambda: None).result(5)
    assert not [t for t in threading.enumerate() if t.name == "sip"]


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_taken_port_is_told_with_its_remedy_and_nothing_stays_behind(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            holder.listen()
        port = holder.getsockname()[1]
        name = "UDP" if kind is socket.SOCK_DGRAM else "TCP"
        with pytest.raises(AddressTaken, match=f"{name} port {port} .* choose another"):
            SipThread(SipSettings(port=port, max_calls=1), NoWork()).start()
    thread = SipThread(SETTINGS, NoWork())
    thread.start()
    thread.stop()
