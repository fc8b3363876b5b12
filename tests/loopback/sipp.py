"""SIPp as a caller: scenarios written as Python lists, run as the real program.

Each scenario is a list of steps; a step that does not come as written makes SIPp exit with an error, and
its own trace is then the test's message.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from xml.sax.saxutils import quoteattr

from agent.bench_rtp import encode
from tests.signals import Pcm

TYPES = {"PCMU": 0, "PCMA": 8, "GSM": 3}
INITIAL = "sip:[service]@[remote_ip]:[remote_port]"


def sipp_program() -> str:
    """Where the program is; fails with the remedy if it is nowhere."""
    program = shutil.which("sipp")
    assert program, "sipp is missing; `make setup` installs it (Debian: sip-tester)"
    return program


def find_free_port() -> int:
    """A port that is free for UDP and TCP on loopback, for now."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        tcp.bind(("127.0.0.1", 0))
        udp.bind(tcp.getsockname())
        port: int = tcp.getsockname()[1]
        return port


def offer(*codecs: str, direction: str = "sendrecv", version: int = 1) -> str:
    """An SDP body in SIPp's own variables."""
    numbers = " ".join(str(TYPES[codec]) for codec in codecs)
    maps = "\n".join(f"a=rtpmap:{TYPES[codec]} {codec}/8000" for codec in codecs)
    return (
        f"v=0\no=sipp 1 {version} IN IP4 [media_ip]\ns=-\nc=IN IP4 [media_ip]\nt=0 0\n"
        f"m=audio [rtpstream_audio_port] RTP/AVP {numbers} 101\n{maps}\n"
        f"a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\na=ptime:20\na={direction}"
    )


def send(method: str, cseq: int, body: str = "", *extra: str) -> str:
    """Send a request; the first INVITE and CANCEL go to the URI called, all else to the far end's contact.

    A CANCEL shares its INVITE's branch, so it must be the third step after it (SIPp counts backwards).
    """
    outside = method in ("OPTIONS", "CANCEL") or (method == "INVITE" and cseq == 1)
    branch = "[branch-3]" if method == "CANCEL" else "[branch]"
    lines = [
        f"{method} {INITIAL if outside else '[next_url]'} SIP/2.0",
        f"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch={branch}",
        "From: sipp <sip:sipp@[local_ip]:[local_port]>;tag=[pid]t[call_number]",
        f"To: <{INITIAL}>{'' if outside else '[peer_tag_param]'}",
        "Call-ID: [call_id]",
        f"CSeq: {cseq} {method}",
        "Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>",
        "Max-Forwards: 70",
        *extra,
        *(["Content-Type: application/sdp"] if body else []),
        "Content-Length: [len]",
        "",
        body,
    ]
    retransmit = "" if method == "ACK" else ' retrans="500"'
    return f"<send{retransmit}><![CDATA[\n" + "\n".join(lines) + "\n]]></send>"


def reply(status: str) -> str:
    """Answer the request that came last."""
    lines = [
        f"SIP/2.0 {status}",
        "[last_Via:]",
        "[last_From:]",
        "[last_To:]",
        "[last_Call-ID:]",
        "[last_CSeq:]",
    ]
    return "<send><![CDATA[\n" + "\n".join([*lines, "Content-Length: 0", ""]) + "\n]]></send>"


def expect(status: int, header: str = "", pattern: str = "", whole: bool = False) -> str:
    """Wait for this answer; with `pattern`, a header (or the message, if `whole`) must match it."""
    return f'<recv response="{status}" rrs="true">{_matching(header, pattern, whole)}</recv>'


def maybe(*statuses: int) -> str:
    """Provisional answers that may come or not."""
    return "".join(f'<recv response="{status}" optional="true"/>' for status in statuses)


def expect_request(method: str, header: str = "", pattern: str = "") -> str:
    """Wait for a request of the far end."""
    return f'<recv request="{method}" crlf="true">{_matching(header, pattern, False)}</recv>'


def _matching(header: str, pattern: str, whole: bool) -> str:
    if not pattern:
        return ""
    where = 'search_in="msg"' if whole else f'search_in="hdr" header={quoteattr(header)}'
    rule = f'<ereg regexp={quoteattr(pattern)} {where} check_it="true" assign_to="found"/>'
    return f'<action>{rule}<log message="found [$found]"/></action>'


def pause(seconds: float) -> str:
    """Do nothing for a while."""
    return f'<pause milliseconds="{round(seconds * 1000)}"/>'


def stream(file: Path, codec: str) -> str:
    """Begin to send a raw G.711 file as RTP, once."""
    return f'<nop><action><exec rtp_stream="{file},1,{TYPES[codec]}"/></action></nop>'


def answered(codec: str = "PCMU", body: str | None = None) -> list[str]:
    """INVITE, 200, ACK."""
    first = offer(codec) if body is None else body
    return [send("INVITE", 1, first), maybe(100, 180, 183), expect(200), send("ACK", 1)]


def ended(cseq: int = 9) -> list[str]:
    """BYE, 200."""
    return [send("BYE", cseq), expect(200)]


def raw_file(path: Path, pcm: Pcm, codec: str) -> Path:
    """Write float32 [T] at 8 kHz as the headerless G.711 that SIPp streams; its path."""
    path.write_bytes(encode(pcm, codec))
    return path


@dataclass
class Sipp:
    """One SIPp run: starts when entered; leaving waits for its end, and fails unless every step came."""

    folder: Path
    steps: list[str]
    port: int  # the gateway's
    called: str = "order"
    address: str = "127.0.0.1"
    transport: str = "u1"  # t1: TCP
    media_port: int = field(default_factory=lambda: find_free_port() & ~1)  # RTP likes even ones

    def __enter__(self) -> Self:
        scenario = self.folder / "scenario.xml"
        scenario.write_text(
            '<?xml version="1.0"?>\n<scenario name="test">\n' + "\n".join(self.steps) + "\n</scenario>\n"
        )
        self._output = (self.folder / "sipp.out").open("w")
        words = f"{self.address}:{self.port} -sf {scenario} -m 1 -s {self.called} -i {self.address} "
        words += f"-mi {self.address} -mp {self.media_port} -t {self.transport} -nostdin "
        words += "-timeout 40s -timeout_error -trace_err -trace_msg -trace_logs"
        command = [sipp_program(), *words.split()]
        self._running = subprocess.Popen(
            command, cwd=self.folder, stdout=self._output, stderr=subprocess.STDOUT
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        """Wait for the end; fail with SIPp's own words unless every step came."""
        try:
            code = self._running.wait(50.0 if kind is None else 0.1)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            self._running.kill()
            self._running.wait()
            self._output.close()
        if kind is None:
            errors, messages = self._traces("*errors.log"), self._traces("*messages.log")
            assert code == 0, f"sipp exited with {code}\n{errors}\n{messages}"

    def run(self) -> None:
        """Start it, and wait for its good end."""
        with self:
            pass

    def _traces(self, pattern: str) -> str:
        return "\n".join(path.read_text(errors="replace")[-6000:] for path in self.folder.glob(pattern))
