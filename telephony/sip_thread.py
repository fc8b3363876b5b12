"""The one thread that owns every pjsua2 object; the rest of the program hands it functions.

PJSIP starts no SIP threads of its own (`threadCnt = 0`), so every SIP callback runs here too. Its media
threads never enter Python. Nothing that holds a pjsua2 object may take part in a reference cycle: the
collector would destroy it on a foreign thread.
"""

import contextlib
import gc
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

import offhook_pjsua2 as pj
import structlog

from telephony.endpoint import SAMPLE_RATE_HZ
from telephony.errors import AddressTaken, TelephonyError
from telephony.settings import PTIME_MS, SipSettings

T = TypeVar("T")

POLL_MS = 10
SPARE_CALLS = 32  # call objects for INVITEs that are about to be refused
RESAMPLER_QUALITY = 1  # speex 3: 3 ms a conversion, -0.3 dB and -88 dB images at 3.4 kHz (docs/log.md)
OPUS_RATE_HZ = SAMPLE_RATE_HZ  # our own, so that nothing is resampled
LOG_LEVEL = 4
TLS_TIMEOUT_MS = 5000  # of a handshake; a connection that only opens is dropped
EADDRINUSE_STATUSES = (120_098, 130_098)  # PJSIP's spelling of the operating system's error 98

log = structlog.get_logger()


class SipWork(Protocol):
    """What runs on the thread between the library's own events."""

    def open(self) -> None:
        """The library runs: create what is needed."""

    def each_second(self) -> None:
        """Figures and other slow work."""

    def after_events(self) -> None:
        """Drop the objects whose callbacks are over."""

    def hang_up_all(self) -> None:
        """End every call; the library goes on until `is_idle`."""

    def is_idle(self) -> bool:
        """True when no call is left."""

    def close(self) -> None:
        """Drop every pjsua2 object."""

    def account_id(self, source: str) -> int:
        """The library's number of the account that a source address ("192.0.2.7:5060") belongs to."""

    def open_gate(self) -> None:
        """Say whose SIP is heard, before anybody's is."""


class _Endpoint(pj.Endpoint):  # type: ignore[misc]  # the extension has no types
    """The library, which asks us whose a new request is; it would go by names that the far end chose."""

    def __init__(self, account_id: Callable[[str], int]) -> None:
        super().__init__()
        self._account_id = account_id

    def onSelectAccount(self, prm: Any) -> None:
        """A request outside of any dialog has come."""
        prm.accountIndex = self._account_id(prm.rdata.srcAddress)


class SipThread:
    """Owns the library from `start` to `stop`; at most one lives in a process at a time."""

    def __init__(
        self, settings: SipSettings, work: SipWork, log_path: str | None = None, num_packet_ports: int = 0
    ) -> None:
        self._settings, self._work, self._log_path = settings, work, log_path
        self._num_packet_ports = num_packet_ports
        # Unbounded by type, bounded in fact: a call submits a handful of functions in its life.
        self._submitted: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._started: Future[None] = Future()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sip", daemon=True)
        self._endpoint: Any = None  # no frame may hold it in a local: exceptions keep frames alive
        self.udp_port = self.tcp_port = self.tls_port = 0

    def start(self) -> None:
        """Return once we listen. Blocks for about 0.2 s.

        Raises AddressTaken if another program holds the SIP port, TelephonyError for any other refusal.
        """
        self._thread.start()
        self._started.result()

    def submit(self, function: Callable[[], T]) -> "Future[T]":
        """Run a function on the thread, within about 10 ms; its result or exception is the future's."""
        future: Future[T] = Future()
        if self._stopping.is_set():
            future.set_exception(TelephonyError("the SIP endpoint has been stopped"))
        else:
            self._submitted.put((function, future))
        return future

    def stop(self) -> None:
        """End every call and give back every socket and thread. Blocks for up to 2 s. Harmless twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            pj.setLogLevel(0)  # until it is configured the library prints
            self._endpoint = _Endpoint(self._work.account_id)
            self._open()
        except BaseException as error:
            failure = _portable(error)  # before the rest: its frames hold the one endpoint there may be
            self._close()
            self._started.set_exception(failure)
            return
        self._started.set_result(None)
        self._serve(self._stopping.is_set)
        self._work.hang_up_all()
        give_up_s = time.monotonic() + 2.0
        self._serve(lambda: self._work.is_idle() or time.monotonic() > give_up_s)
        self._close()

    def _serve(self, is_over: Callable[[], bool]) -> None:
        next_second_s = time.monotonic() + 1.0
        while not is_over():
            self._endpoint.libHandleEvents(POLL_MS)
            self._run_submitted()
            self._guarded(self._work.after_events)
            if time.monotonic() >= next_second_s:
                next_second_s += 1.0
                self._guarded(self._work.each_second)
                self._guarded(self._watch_gate)

    def _run_submitted(self) -> None:
        for _ in range(self._submitted.qsize()):
            function, future = self._submitted.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(_portable(error))

    @staticmethod
    def _guarded(function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:  # the thread must live: every call hangs on it
            log.error("sip_thread_failed", error=type(error).__name__)

    def _open(self) -> None:
        self._endpoint.libCreate()
        try:
            self._endpoint.libInit(self._endpoint_config())
            self._work.open_gate()
            self._listen()
            self._endpoint.libStart()
            self._endpoint.audDevManager().setNullDev()
            self._choose_codecs()
            self._work.open()
        except pj.Error as error:
            raise _portable(error) from None

    def _watch_gate(self) -> None:
        pj.sweepGate()
        while source := pj.takeBan():
            log.warning("sip_source_banned", pii_source=source, ban_s=self._settings.gate.ban_s)

    def _endpoint_config(self) -> Any:
        config, jitter = pj.EpConfig(), self._settings.jitter
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = True
        config.uaConfig.maxCalls = min(1024, self._settings.max_calls + SPARE_CALLS)
        config.uaConfig.userAgent = ""  # neither User-Agent nor Server: scanners look for versions
        for server in self._settings.stun_servers:
            config.uaConfig.stunServer.append(server)
        config.uaConfig.stunIgnoreFailure = True  # calls within the network go on without
        config.logConfig.level = config.logConfig.consoleLevel = 0
        if self._log_path is not None:  # the library writes it: its log lines come from media threads too
            config.logConfig.filename, config.logConfig.level = self._log_path, LOG_LEVEL
        media = config.medConfig
        media.clockRate = media.sndClockRate = SAMPLE_RATE_HZ
        media.audioFramePtime = media.ptime = PTIME_MS
        media.quality = RESAMPLER_QUALITY
        media.noVad = True
        media.ecTailLen = 0
        media.maxMediaPorts = 3 * self._settings.max_calls + SPARE_CALLS + self._num_packet_ports
        media.sndAutoCloseTime = -1  # the clock runs from start to stop
        media.jbInit, media.jbMinPre = jitter.prefetch_ms, jitter.min_ms
        media.jbMaxPre, media.jbMax = jitter.max_ms * 4 // 5, jitter.max_ms  # PJSIP wants the gap
        return config

    def _listen(self) -> None:
        kinds = {
            "udp": pj.PJSIP_TRANSPORT_UDP,
            "tcp": pj.PJSIP_TRANSPORT_TCP,
            "tls": pj.PJSIP_TRANSPORT_TLS,
        }
        for transport in self._settings.transports:
            config = pj.TransportConfig()
            config.boundAddress = self._settings.bind_address
            config.publicAddress = self._settings.public_address
            config.port = self._settings.tls.port if transport == "tls" else self._settings.port
            if transport == "tls":
                self._secure(config.tlsConfig)
            port = self._bind(transport, kinds[transport], config)
            setattr(self, f"{transport}_port", port)

    def _bind(self, transport: str, kind: int, config: Any) -> int:
        """Listen; the port."""
        try:
            number = self._endpoint.transportCreate(kind, config)
        except pj.Error as error:
            if error.status in EADDRINUSE_STATUSES:
                raise AddressTaken(self._settings.bind_address, config.port, transport) from None
            raise
        return int(self._endpoint.transportGetInfo(number).localName.rpartition(":")[2])

    def _secure(self, config: Any) -> None:
        tls = self._settings.tls
        tls.check_files()
        config.certFile, config.privKeyFile, config.CaListFile = (
            str(tls.certificate),
            str(tls.key),
            str(tls.authorities),
        )
        config.proto = pj.PJ_SSL_SOCK_PROTO_TLS1_2 | pj.PJ_SSL_SOCK_PROTO_TLS1_3
        config.verifyServer = config.verifyClient = True
        config.requireClientCert = tls.client_certificates
        config.msecTimeout = TLS_TIMEOUT_MS

    def _choose_codecs(self) -> None:
        order = {name: 255 - place for place, name in enumerate(self._settings.codecs)}
        known = self._endpoint.codecEnum2()  # held: its elements point into it
        for codec in known:
            self._endpoint.codecSetPriority(codec.codecId, order.get(codec.codecId.split("/")[0], 0))
        self._set_opus()

    def _set_opus(self) -> None:
        """Mono both ways, and said so: else a stereo sender is decoded twice and summed, 6 dB too loud."""
        config = self._endpoint.getCodecOpusConfig()
        config.sample_rate, config.channel_cnt = OPUS_RATE_HZ, 1
        self._endpoint.setCodecOpusConfig(config)
        parameters = self._endpoint.codecGetParam("opus/48000/2")
        for name in ("stereo", "sprop-stereo"):
            said = pj.CodecFmtp()
            said.name, said.val = name, "0"
            parameters.setting.decFmtp.append(said)
        self._endpoint.codecSetParam("opus/48000/2", parameters)

    def _close(self) -> None:
        self._stopping.set()
        while not self._submitted.empty():
            self._submitted.get()[1].set_exception(TelephonyError("the SIP endpoint has been stopped"))
        self._work.close()
        gc.collect()  # a call object that outlives the library would abort the program
        if self._endpoint is not None:
            with contextlib.suppress(pj.Error):
                self._endpoint.libDestroy()
            self._endpoint = None


def _portable(error: BaseException) -> BaseException:
    """The error as it may leave the thread: the library's as ours, and no frames that hold a call."""
    if isinstance(error, pj.Error):
        return TelephonyError(f"{error.title}: {error.reason} (PJSIP status {error.status})")
    error.__context__ = error.__traceback__ = None
    return error
