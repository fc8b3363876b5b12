"""Everything an operator may set, checked once and frozen; `agent.settings_reader` reads it."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    model_validator,
)

from agent.logs import LogFormat, LogLevel
from agent.outbound import OutboundSettings
from agent.section import Section as _Section
from agent.section import Words
from agent.section import split_words as _split
from agent.transfer_settings import TransferSettings
from agent.wire_fields import MAX_BIAS, MAX_ROLE_BYTES, MAX_VOICE_BYTES
from telephony.call_limits import CallLimitSettings
from telephony.settings import SipSettings, WebRtcSettings

MIN_SECRET_BYTES = 16
MIN_ADMIN_KEY = 32  # letters
MAX_SLOTS = 256  # per worker
MEASURING_S = 360.0  # what finding out the number of slots may take, once per machine and model
BUILTIN_MODEL = Path(__file__).resolve().parent.parent / "model" / "builtin"


def _slots(value: object) -> int | str:
    if value == "auto":
        return "auto"
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if not 1 <= number <= MAX_SLOTS:
        raise ValueError(f"{value!r} is no number of calls; write auto, or 1 to {MAX_SLOTS}")
    return number


_SERVICE = r"^(https?://[^\s]+)?$"
Slots = Annotated[int | Literal["auto"], BeforeValidator(_slots)]


class HttpSettings(_Section):
    """The control API, the console and /metrics; who may ask for what is in the keys: `offhook keys`."""

    bind_address: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)  # 0: any free port
    allowed_peers: Words = ()  # CIDRs; empty means loopback only
    admin_key: SecretStr | None = None  # one key with every right, beside those of `offhook keys`
    origins: Words = ()  # where the console is opened, if not at an IP address or localhost: https://calls.example
    requests_per_s: float = Field(default=50.0, ge=1, le=10_000)  # of one peer, in the long run
    metrics_port: int | None = Field(default=None, ge=0, le=65_535)  # /metrics alone and without a key, there
    grafana_url: str = Field(default="", pattern=_SERVICE)  # the console links to it

    @model_validator(mode="after")
    def _closed_unless_listed(self) -> Self:
        for cidr in self.allowed_peers:
            try:
                ipaddress.ip_network(cidr)
            except ValueError as error:
                raise ValueError(
                    f"allowed_peers: {cidr!r} is no network ({error}); try 192.0.2.0/24"
                ) from None
        try:
            address = ipaddress.ip_address(self.bind_address)
        except ValueError:
            raise ValueError(f"bind_address={self.bind_address!r} is no IP address; try 127.0.0.1") from None
        if not address.is_loopback and not self.allowed_peers:
            raise ValueError(
                f"bind_address={self.bind_address} is reachable from outside, but allowed_peers is empty; "
                "list who may ask, e.g. 192.0.2.0/24, or bind to 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _well_kept(self) -> Self:
        if self.admin_key is not None and len(self.admin_key.get_secret_value()) < MIN_ADMIN_KEY:
            raise ValueError("admin_key is too short; make one with `openssl rand -hex 32`")
        for origin in self.origins:
            if not re.fullmatch(r"https?://[^/\s]+", origin):
                raise ValueError(f"origins has {origin!r}; write https://calls.example, without a path")
        return self


class WorkerSettings(_Section):
    """The processes that hold the model; by default we start them ourselves."""

    count: int = Field(default=1, ge=0, le=64)  # how many to start here; 0 when all are listed in `addresses`
    slots: Slots = "auto"  # calls per worker; auto: as many as this machine is measured to hold
    # standin: a tone machine that needs no model; cascade: a recogniser, rules and a synthesiser
    engine: Literal["builtin", "standin", "cascade"] = "builtin"
    model_dir: Path = BUILTIN_MODEL  # a model folder, or the name of a published model
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?)$")
    threads: int = Field(default=1, ge=1, le=64)  # of one worker's tensor work
    # How keys and values are kept: float8 halves what a long call takes of memory and time, and rounds them.
    kv: Literal["same", "float8"] = "same"
    # On a CPU, our own models' step: compiled in the background, once, and used; used if there is one; plain.
    compile: Literal["yes", "kept", "no"] = "yes"
    addresses: Words = ()  # running workers: unix:/path or tcp:host:port
    secret: SecretStr | None = None  # shared with every worker that is reached by TCP
    start_timeout_s: float = Field(default=60.0, gt=0, le=600)  # the measuring for slots=auto not included
    trace_folder: Path | None = None  # each call's exact input is kept here for replay: the caller's voice

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        for address in self.addresses:
            if not re.fullmatch(r"unix:/.+|tcp:[^\s:]+:\d{1,5}|tcp:\[[0-9a-fA-F:]+\]:\d{1,5}", address):
                raise ValueError(f"addresses has {address!r}; write unix:/path/worker.sock or tcp:host:7400")
        if self.secret is None and any(address.startswith("tcp:") for address in self.addresses):
            raise ValueError(
                "addresses has a worker over TCP, which needs a secret: set the same here and there"
            )
        if self.secret is not None and len(self.secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
            raise ValueError("secret is too short; make one with `openssl rand -hex 32`")
        if not self.count and not self.addresses:
            raise ValueError("count=0 without addresses leaves no worker; set count=1 or list addresses")
        return self

    @property
    def ready_timeout_s(self) -> float:
        """How long a worker may take until it serves."""
        return self.start_timeout_s + (MEASURING_S * max(1, self.count) if self.slots == "auto" else 0.0)

    @property
    def share(self) -> float:
        """The part of this machine's device that each of our workers has, 1 if they do not share."""
        num_workers = max(1, self.count)
        if self.device.startswith("cuda"):
            return 1 / num_workers
        return min(1.0, len(os.sched_getaffinity(0)) / (num_workers * self.threads))


class CascadeSettings(_Section):
    """The engine `cascade`: when a caller's turn is over, and what stands in for its own parts."""

    hold_s: float = Field(default=0.6, ge=0.1, le=3)  # silence that ends a caller's turn
    hold_complete_s: float = Field(default=0.35, ge=0.1, le=3)  # the same where the words are a whole request
    hold_open_s: float = Field(default=1.1, ge=0.1, le=5)  # and where they are plainly unfinished
    barge_in_s: float = Field(default=0.25, ge=0.05, le=3)  # of the caller's speech, before the agent stops
    silence_s: float = Field(default=4.2, ge=1, le=60)  # nobody speaks: the agent asks, then hangs up
    noise_filter: bool = True  # before the recogniser
    # Of 1: how sure the recogniser must be of a turn; with less the caller is asked to say it again.
    least_confidence: float = Field(default=0.07, ge=0, le=1)
    synthesiser: Literal["flite", "espeak"] = "flite"
    # Services that speak as OpenAI's do; unset: our own rules, recogniser and synthesiser. A URL is the API's
    # root, like http://127.0.0.1:8000/v1.
    llm_url: str = Field(default="", pattern=_SERVICE)
    llm_model: str = ""
    llm_key: SecretStr | None = None
    stt_url: str = Field(default="", pattern=_SERVICE)
    stt_model: str = ""
    stt_key: SecretStr | None = None
    tts_url: str = Field(default="", pattern=_SERVICE)
    tts_model: str = ""
    tts_voice: str = ""
    tts_key: SecretStr | None = None
    timeout_s: float = Field(default=4.0, gt=0, le=60)  # a service that says nothing for so long has failed

    @model_validator(mode="after")
    def _named(self) -> Self:
        for part, url, model in (
            ("llm", self.llm_url, self.llm_model),
            ("stt", self.stt_url, self.stt_model),
            ("tts", self.tts_url, self.tts_model),
        ):
            if bool(url) != bool(model):
                raise ValueError(f"{part}_url and {part}_model go together; set both, or neither")
        return self


class RecordingSettings(_Section):
    """Two-channel recordings (caller left, agent right); off unless a folder is set."""

    folder: Path | None = None
    format: Literal["flac", "wav"] = "flac"
    consent: bool = False  # callers are told and agree: written into each sidecar
    # Given a key, sound and words are sealed on disk (agent/sealed.py): 32 bytes in hex or base64, the first
    # line seals, all lines open.
    key: SecretStr | None = None
    key_file: Path | None = None
    keep_days: float | None = Field(default=None, gt=0, le=36_500)  # older ones are deleted; None: kept
    # Said before a call is recorded; the caller's choice afterwards: agent/consent.py.
    announcement: str = Field(default="", max_length=500)
    opt_out_digit: str = Field(default="", pattern=r"^[0-9*#]?$")  # pressed at any time: no recording
    opt_out_window_s: float = Field(default=3.0, ge=1, le=60)  # after the announcement, before it begins

    @model_validator(mode="after")
    def _one_key_and_told(self) -> Self:
        if self.key is not None and self.key_file is not None:
            raise ValueError("key and key_file are both set; keep one")
        if self.opt_out_digit and not self.announcement:
            raise ValueError("opt_out_digit needs an announcement that tells callers of it; set announcement")
        return self


class AgentSettings(_Section):
    """Who the agent is: how each call's model is set up. Unset, the model is as it was trained."""

    voice: str = ""  # one of the model's voices
    role: str = ""  # what the agent is told of itself before the caller is heard
    role_file: Path | None = None  # or a file that holds it
    text_temperature: float | None = Field(default=None, ge=0, le=10)  # 0: always the likeliest token
    text_top_k: int | None = Field(default=None, ge=0, le=1_000_000)  # 0: draw from all tokens
    audio_temperature: float | None = Field(default=None, ge=0, le=10)
    audio_top_k: int | None = Field(default=None, ge=0, le=1_000_000)
    text_bias: Words = ()  # word=number, added to the word's logit: okay=-2.5
    banned: Words = ()  # words that are never said
    greeting: str = Field(
        default="", max_length=2000
    )  # what it says first; empty: the model greets by itself
    # What it cannot know, like the state of an order, is asked here: see agent/delegate.py. Empty: of whoever
    # follows the call.
    delegate_url: str = ""
    delegate_timeout_s: float = Field(default=6.0, gt=0, le=60)
    delegate_fallback: str = Field(
        default="Sorry, I cannot find that out right now.", min_length=1, max_length=2000
    )  # said when no answer has come in time

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.delegate_url and not re.fullmatch(r"https?://[^\s/]\S*", self.delegate_url):
            raise ValueError(
                f"delegate_url={self.delegate_url!r} is no HTTP address; write http://127.0.0.1:9000/ask"
            )
        if self.role and self.role_file is not None:
            raise ValueError("role and role_file are both set; keep one")
        if len(self.voice.encode()) > MAX_VOICE_BYTES:
            raise ValueError(f"voice is no voice's name: it is longer than {MAX_VOICE_BYTES} bytes")
        if len(self.role.encode()) > MAX_ROLE_BYTES:
            raise ValueError(f"role is longer than {MAX_ROLE_BYTES} bytes; say it shorter")
        for item in self.text_bias:
            word, _, number = item.rpartition("=")
            try:
                is_right = bool(word.strip()) and abs(float(number)) <= MAX_BIAS
            except ValueError:
                is_right = False
            if not is_right:
                raise ValueError(f"text_bias has {item!r}; write word=number, e.g. okay=-2.5")
        return self


def _check_target(name: str, target: str | None) -> None:
    if target is not None and not re.fullmatch(r"(sips?|tel):[^\s<>\"]+", target):
        raise ValueError(f"{name}={target!r} is no SIP URI; write sip:desk@192.0.2.7")


class CallSettings(_Section):
    """Limits and destinations of a call."""

    max_s: float = Field(default=3600.0, gt=0)  # then we say no more and hang up
    media_timeout_s: float = Field(
        default=20.0, gt=0
    )  # no packet for so long, and not on hold: the caller is gone
    transfer_target: str | None = None  # SIP URI of a person; None: the agent says that nobody is free

    @model_validator(mode="after")
    def _target_is_uri(self) -> Self:
        _check_target("transfer_target", self.transfer_target)
        return self


class LogSettings(_Section):
    """What is logged, and how."""

    format: LogFormat = "console"
    level: LogLevel = "info"
    pii: bool = False  # show numbers and transcripts in logs, and numbers in /v1/calls and the console


class Settings(_Section):
    """Everything an operator may set, as `OFFHOOK_*` variables or in the file `OFFHOOK_CONFIG` names."""

    redis_url: SecretStr | None = None  # None: a private Redis is started and stopped with us
    cache: Path | None = None  # what can be made again, measured capacities first; None: ~/.cache/offhook
    state: Path | None = None  # keys, and what must outlive a restart; None: ~/.local/state/offhook
    drain_timeout_s: float = Field(default=30.0, ge=0)  # after SIGTERM, how long live calls may go on
    drain_transfer_target: str | None = None  # who gets those left near its end; None: they are ended then
    sip: SipSettings = SipSettings()
    webrtc: WebRtcSettings = WebRtcSettings()
    http: HttpSettings = HttpSettings()
    worker: WorkerSettings = WorkerSettings()
    cascade: CascadeSettings = CascadeSettings()
    agent: AgentSettings = AgentSettings()
    recording: RecordingSettings = RecordingSettings()
    call: CallSettings = CallSettings()
    limits: CallLimitSettings = CallLimitSettings()
    outbound: OutboundSettings = OutboundSettings()
    transfer: TransferSettings = TransferSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="before")
    @classmethod
    def _split_words(cls, given: dict[str, object]) -> dict[str, object]:
        """The leaves' dataclasses know no commas: their tuples are split here."""
        for name, kind in (("sip", SipSettings), ("webrtc", WebRtcSettings)):
            section = given.get(name)
            if isinstance(section, dict):
                lists = {field.name for field in dataclasses.fields(kind) if "tuple" in str(field.type)}
                split = {key: _split(v) if key in lists else v for key, v in section.items()}
                given = {**given, name: split}
        return given

    @model_validator(mode="after")
    def _drains_to_uri(self) -> Self:
        _check_target("drain_transfer_target", self.drain_transfer_target)
        return self

    @model_validator(mode="after")
    def _redis_scheme(self) -> Self:
        url = self.redis_url.get_secret_value() if self.redis_url else "redis://"
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError(
                "redis_url must begin with redis://, rediss:// or unix://, e.g. redis://127.0.0.1:6379/0"
            )
        return self
