"""Many SIP callers on one UDP socket, without a thread: the signalling of a load.

INVITEs and BYEs are sent again until they are answered (RFC 3261 section 17.1, T1 = 500 ms), 2xx answers that
come again are acknowledged again, and requests of the far end within a call get 200; a REFER gets 202, and
`notify` tells what came of it (RFC 3515). There may be one proxy that records its route. Whoever owns this
calls `poll`.
"""

from __future__ import annotations

import re
import secrets
import socket
import time
from dataclasses import dataclass, field
from enum import StrEnum

from agent.bench_sip import SipMessage, sdp
from agent.load_speech import CODEC
from telephony.errors import MalformedPacket

T1_S = 0.5
MAX_RETRY_S = 4.0
GIVE_UP_S = 32.0  # 64 T1
BUFFER_BYTES = 4 << 20
MAX_DATAGRAM = 65_535
MAX_POLL = 64  # messages at a time: the sound must go on


class DialogState(StrEnum):
    """How far a call has come."""

    INVITING = "inviting"
    CONFIRMED = "confirmed"
    ENDING = "ending"  # our BYE is on its way
    OVER = "over"


@dataclass(slots=True)
class Dialog:
    """One call's signalling; times by the monotonic clock."""

    number: int
    call_id: str
    tag: str
    address: str  # ours, where media is wanted
    media_port: int
    remote: tuple[str, int] = ("", 0)  # where our requests go
    cseq: int = 1
    state: DialogState = DialogState.INVITING
    to: str = ""
    contact: str = ""
    route: str = ""  # the proxy's, if it wants to see all requests
    referred_to: str = ""  # the URI of the far end's REFER
    invited_s: float = 0.0
    answered_s: float | None = None  # 200 to the INVITE
    ended_s: float | None = None
    remote_media_port: int = 0
    status: int = 0  # that the INVITE, or the latest re-INVITE, was answered with
    failure: str = ""
    was_ended_by_far: bool = False
    _sent: bytes = b""  # the request that waits for an answer
    _method: str = ""
    _branch: str = ""
    _due_s: float = 0.0
    _wait_s: float = T1_S
    _give_up_s: float = 0.0

    @property
    def is_over(self) -> bool:
        """Nothing more will happen."""
        return self.state is DialogState.OVER


@dataclass(slots=True)
class Changes:
    """What became known in one `poll`."""

    answered: list[Dialog] = field(default_factory=list)  # an INVITE or re-INVITE got 200
    over: list[Dialog] = field(default_factory=list)
    referred: list[Dialog] = field(default_factory=list)  # asked to call somebody else


class Callers:
    """All dialogs of one generator with one gateway."""

    def __init__(self, remote: tuple[str, int], user: str = "order", address: str = "127.0.0.1") -> None:
        self.remote, self.address = remote, address
        self.target = f"sip:{user}@{remote[0]}:{remote[1]}"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self._socket.setblocking(False)
        self._socket.bind((address, 0))
        self._port: int = self._socket.getsockname()[1]
        self._dialogs: dict[str, Dialog] = {}
        self._waiting: dict[str, Dialog] = {}  # with a request that is not answered
        self.num_retransmissions = 0

    @property
    def num_live(self) -> int:
        """Calls that are not over."""
        return len(self._dialogs)

    def close(self) -> None:
        """Free the port."""
        self._socket.close()

    # ---- what a caller does ----

    def invite(self, number: int, media_port: int, address: str = "", uri: str = "") -> Dialog:
        """Place a call whose sound is wanted at `address` (ours unless told), PCMU; `uri`: somebody else."""
        where, target = address or self.address, uri or self.target
        remote = server_of(uri) if uri else self.remote
        dialog = Dialog(number, secrets.token_hex(12), secrets.token_hex(6), where, media_port, remote)
        dialog.to, dialog.contact, dialog.invited_s = f"<{target}>", target, time.monotonic()
        self._dialogs[dialog.call_id] = dialog
        self._request(dialog, "INVITE", sdp(media_port, CODEC, address=where))
        return dialog

    def move(self, dialog: Dialog, media_port: int, address: str) -> None:
        """Say by re-INVITE that the sound is wanted elsewhere from now on."""
        assert dialog.state is DialogState.CONFIRMED, dialog.state
        dialog.address, dialog.media_port, dialog.status = address, media_port, 0
        dialog.cseq += 1
        self._request(dialog, "INVITE", sdp(media_port, CODEC, address=address))

    def take_over(self, dialog: Dialog) -> None:
        """Go on with a call of other callers, who forget it: its caller has this address now."""
        self._dialogs[dialog.call_id] = dialog

    def hang_up(self, dialog: Dialog) -> None:
        """End a call; harmless when that is under way."""
        if dialog.state is DialogState.CONFIRMED:
            dialog.state = DialogState.ENDING
            dialog.cseq += 1
            self._request(dialog, "BYE")

    def notify(self, dialog: Dialog, status: int) -> None:
        """Tell how the call stands that the far end's REFER asked for; from 200 on that is the last word."""
        if dialog.state is DialogState.CONFIRMED:
            dialog.cseq += 1
            self._request(dialog, "NOTIFY", f"SIP/2.0 {status} {'OK' if status == 200 else 'See status'}\r\n")

    # ---- the wire ----

    def poll(self, now_s: float) -> Changes:
        """Take what has come, send again what is due."""
        changes = Changes()
        for _ in range(MAX_POLL):
            try:
                raw, source = self._socket.recvfrom(MAX_DATAGRAM)
            except (BlockingIOError, ConnectionError):
                break
            try:
                message = SipMessage.parse(raw)
            except MalformedPacket:
                continue
            dialog = self._dialogs.get(message.headers.get("call-id", ""))
            if message.status and dialog is not None:
                self._take_answer(dialog, message, changes)
            elif not message.status:
                self._take_request(dialog, message, source, changes)
        for dialog in [one for one in self._waiting.values() if one._due_s <= now_s]:
            self._again(dialog, now_s, changes)
        return changes

    def _again(self, dialog: Dialog, now_s: float, changes: Changes) -> None:
        if now_s > dialog._give_up_s:
            dialog.failure = dialog.failure or f"no answer to {dialog._method} in {GIVE_UP_S:g} s"
            self._end(dialog, changes)
            return
        self._write(dialog._sent, dialog.remote)
        self.num_retransmissions += 1
        dialog._wait_s = min(MAX_RETRY_S, 2 * dialog._wait_s)
        dialog._due_s = now_s + dialog._wait_s

    def _take_answer(self, dialog: Dialog, message: SipMessage, changes: Changes) -> None:
        is_ours = message.headers.get("cseq") == f"{dialog.cseq} {dialog._method}"
        if message.status < 200:
            if is_ours and dialog.call_id in self._waiting:  # they have it: no need to ask again soon
                dialog._due_s = time.monotonic() + MAX_RETRY_S
            return
        if message.method == "INVITE":
            dialog.to = message.headers.get("to", dialog.to)
            self._acknowledge(dialog, message)
        if not is_ours or self._waiting.pop(dialog.call_id, None) is None:
            return  # an answer that came twice
        if message.method == "BYE":
            if message.status != 200:
                dialog.failure = f"BYE was answered with {message.status}"
            self._end(dialog, changes)
            return
        if message.method != "INVITE":
            return
        dialog.status = message.status
        if message.status < 300:
            self._confirmed(dialog, message)
            changes.answered.append(dialog)
        elif dialog.answered_s is None:
            dialog.failure = f"the call was refused: {message.first_line[8:]}"
            self._end(dialog, changes)
        else:
            changes.answered.append(dialog)

    def _confirmed(self, dialog: Dialog, message: SipMessage) -> None:
        dialog.state = DialogState.CONFIRMED
        dialog.contact = message.headers.get("contact", dialog.contact).partition("<")[2].partition(">")[0]
        dialog.route = message.headers.get("record-route", dialog.route)
        dialog.remote_media_port = message.media_port
        if dialog.answered_s is None:
            dialog.answered_s = time.monotonic()

    def _take_request(
        self, dialog: Dialog | None, message: SipMessage, source: tuple[str, int], changes: Changes
    ) -> None:
        if message.method == "ACK":
            return
        if dialog is None:
            self._answer(message, source, "481 No such call")
            return
        self._answer(message, source, "202 Accepted" if message.method == "REFER" else "200 OK")
        if message.method == "REFER" and not dialog.referred_to:
            dialog.referred_to = message.headers.get("refer-to", "").strip("<>")
            changes.referred.append(dialog)
        elif message.method == "BYE":
            dialog.was_ended_by_far = dialog.state is not DialogState.ENDING
            self._waiting.pop(dialog.call_id, None)
            self._end(dialog, changes)

    def _end(self, dialog: Dialog, changes: Changes) -> None:
        dialog.state, dialog.ended_s = DialogState.OVER, time.monotonic()
        self._waiting.pop(dialog.call_id, None)
        self._dialogs.pop(dialog.call_id, None)
        changes.over.append(dialog)

    def _request(self, dialog: Dialog, method: str, body: str = "") -> None:
        now_s = time.monotonic()
        dialog._branch = "z9hG4bK" + secrets.token_hex(8)
        dialog._method, dialog._sent = method, self._message(dialog, method, body)
        dialog._wait_s, dialog._due_s, dialog._give_up_s = T1_S, now_s + T1_S, now_s + GIVE_UP_S
        self._waiting[dialog.call_id] = dialog
        self._write(dialog._sent, dialog.remote)

    def _acknowledge(self, dialog: Dialog, answer: SipMessage) -> None:
        """To a 2xx in a transaction of its own, to a refusal in the INVITE's (RFC 3261 section 17.1.1.3)."""
        if answer.status < 300:
            dialog._branch = "z9hG4bK" + secrets.token_hex(8)
            contact = answer.headers.get("contact", "").partition("<")[2].partition(">")[0]
            dialog.contact = contact or dialog.contact
            dialog.route = answer.headers.get("record-route", dialog.route)
        number = answer.headers.get("cseq", "1").split(" ")[0]
        self._write(self._message(dialog, "ACK", number=number), dialog.remote)

    def _message(self, dialog: Dialog, method: str, body: str = "", number: str = "") -> bytes:
        lines = [
            f"{method} {dialog.contact} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.address}:{self._port};branch={dialog._branch};rport",
            f"From: <sip:+1555{dialog.number:06}@{self.address}>;tag={dialog.tag}",
            f"To: {dialog.to}",
            f"Call-ID: {dialog.call_id}",
            f"CSeq: {number or dialog.cseq} {method}",
            f"Contact: <sip:load@{self.address}:{self._port}>",
            "Max-Forwards: 70",
            *([f"Route: {dialog.route}"] if dialog.route and method != "INVITE" else []),
            *_about_body(method, body),
            f"Content-Length: {len(body)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def _answer(self, request: SipMessage, source: tuple[str, int], status: str) -> None:
        kept = [
            f"{name}: {request.headers[name.lower()]}"
            for name in ("Via", "From", "To", "Call-ID", "CSeq")
            if name.lower() in request.headers
        ]
        raw = "\r\n".join([f"SIP/2.0 {status}", *kept, "Content-Length: 0"]) + "\r\n\r\n"
        self._socket.sendto(raw.encode(), source)

    def _write(self, raw: bytes, remote: tuple[str, int]) -> None:
        try:
            self._socket.sendto(raw, remote)
        except BlockingIOError:  # the system's buffer is full: as lost, and sent again when due
            return


def server_of(uri: str) -> tuple[str, int]:
    """Where a SIP URI with a numeric host is reached. Raises MalformedPacket for any other."""
    found = re.fullmatch(r"sip:[^@\s]+@(\d+(?:\.\d+){3})(?::(\d+))?(?:;\S*)?", uri)
    if found is None:
        raise MalformedPacket("a REFER names somebody whom this generator cannot call")
    return found[1], int(found[2] or 5060)


def _about_body(method: str, body: str) -> list[str]:
    """The headers that tell what a request carries."""
    if method != "NOTIFY":
        return ["Content-Type: application/sdp"] if body else []
    is_last = not body.startswith("SIP/2.0 1")
    state = "terminated;reason=noresource" if is_last else "active;expires=60"
    return ["Event: refer", f"Subscription-State: {state}", "Content-Type: message/sipfrag"]
