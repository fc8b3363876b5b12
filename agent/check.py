"""`offhook check`: what would stop `serve` on this machine, and what to do about it.

Each check is a function from Settings to findings; it looks, and changes nothing that outlives it.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, SecretStr
from redis.exceptions import RedisError

from agent import check_network
from agent.access_keys import KeyFile
from agent.calibration import CalibrationFile, cache_folder
from agent.engines import CASCADE, STANDIN, WITHOUT_WEIGHTS, EngineChoice, EngineFactory, model_folder
from agent.errors import AgentError, ConfigError, RedisUnavailable
from agent.findings import Finding, Level
from agent.keys_command import state_folder
from agent.profile import build_profile, check_announcement, load_tokens
from agent.redis_server import find_redis_server
from agent.settings import Settings
from agent.settings_reader import CONFIG_VARIABLE, setting_names
from agent.standin import VOICES
from agent.store import ping
from agent.tick_loop import Stepper
from agent.worker_address import WorkerAddress
from model.errors import ModelError, PromptError

PYTHON_VERSIONS = ((3, 11), (3, 13))
FILES_PER_CALL = 8  # sockets for RTP and RTCP, a recording, room to spare
FILES_BESIDE_CALLS = 256
LEAST_FREE_BYTES = 1 << 30  # about five hours of two-channel recording


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `offhook check`."""
    parser.add_argument("--settings", action="store_true", help="list every setting and its value, and stop")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the findings; 1 if one of them is a problem."""
    if args.settings:
        print("\n".join(describe(settings, os.environ)))
        return 0
    findings = list(look(settings))
    for finding in findings:
        print(f"{finding.level:>8}  {finding.what}")
        if finding.remedy:
            print(f"{'':>8}  -> {finding.remedy}")
    num_problems = sum(finding.level is Level.PROBLEM for finding in findings)
    print(f"\n{num_problems} would stop `offhook serve`" if num_problems else "\n`offhook serve` can start")
    return 1 if num_problems else 0


def look(settings: Settings) -> Iterator[Finding]:
    """Everything there is to say about this machine under these settings."""
    for check in CHECKS:
        yield from check(settings)


def describe(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """One line per setting: variable, value, and where the value is from; secrets hidden."""
    file = environ.get(CONFIG_VARIABLE)
    defaults = Settings()
    for variable, key in setting_names():
        value = _value_at(settings, key)
        source = "variable" if environ.get(variable) else "default"
        if source == "default" and value != _value_at(defaults, key):
            source = str(file)
        yield f"{variable}={_shown(value)}  # {source}"


def _value_at(settings: BaseModel, key: str) -> object:
    value: object = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return "**********"
    shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return shown.replace("\n", "\\n")  # a role may have several lines, a setting has one


def _python(_settings: Settings) -> Iterator[Finding]:
    low, high = PYTHON_VERSIONS
    running = ".".join(map(str, sys.version_info[:3]))
    if low <= sys.version_info[:2] <= high:
        yield Finding(Level.OK, f"Python {running}")
    else:
        yield Finding(Level.PROBLEM, f"Python {running}", "make the environment with 3.11, 3.12 or 3.13")


def _sip_library(_settings: Settings) -> Iterator[Finding]:
    try:
        importlib.import_module("offhook_pjsua2")
    except ImportError as error:
        yield Finding(
            Level.PROBLEM, f"the SIP library does not load ({error})", "run `make setup`: it builds it"
        )
    else:
        yield Finding(Level.OK, "the SIP library loads")


def _redis(settings: Settings) -> Iterator[Finding]:
    if settings.redis_url is None:
        server, setpriv = find_redis_server(), shutil.which("setpriv")
        if server and setpriv:
            yield Finding(Level.OK, f"private Redis from {server}")
        else:
            missing = "redis-server" if not server else "setpriv"
            remedy = "run `make setup`, or name a running Redis in OFFHOOK_REDIS_URL"
            yield Finding(Level.PROBLEM, f"{missing} is not installed", remedy)
        return
    try:
        asyncio.run(ping(settings.redis_url.get_secret_value()))
    except RedisUnavailable as error:
        yield Finding(Level.PROBLEM, str(error), "correct OFFHOOK_REDIS_URL")
    except (RedisError, OSError) as error:
        remedy = "start it or correct OFFHOOK_REDIS_URL; calls work without it, records and leases do not"
        yield Finding(Level.NOTE, f"the configured Redis does not answer ({type(error).__name__})", remedy)
    else:
        yield Finding(Level.OK, "the configured Redis answers")


def _model(settings: Settings) -> Iterator[Finding]:
    worker = settings.worker
    if worker.count == 0 or worker.engine in WITHOUT_WEIGHTS:
        yield Finding(Level.OK, "no model is loaded here")
        if worker.engine == STANDIN:
            yield from _agent(settings, VOICES, takes_role=False)
        elif worker.engine == CASCADE:
            yield from _cascade(settings)
        return
    remedy = "set OFFHOOK_WORKER__MODEL_DIR to a model folder, OFFHOOK_WORKER__DEVICE to one that is here"

    try:
        folder = model_folder(worker.model_dir)
    except ModelError as error:
        yield Finding(Level.PROBLEM, str(error), remedy)
        return
    num_slots = 1 if worker.slots == "auto" else worker.slots
    factory = EngineFactory(EngineChoice.of(worker, folder))
    try:
        engine = factory.build(num_slots)  # imports torch: seconds that only this check should cost
    except (ModelError, RuntimeError, OSError) as error:  # RuntimeError: torch's word for a missing device
        cause = " ".join(str(error).split())
        yield Finding(Level.PROBLEM, f"the model in {worker.model_dir} does not load: {cause}", remedy)
    else:
        yield Finding(Level.OK, f"the model in {worker.model_dir} loads on {worker.device}")
        yield from _agent(
            settings, factory.voices(engine), takes_role=factory.takes_role(engine), engine=engine
        )
        yield from _capacity(settings, factory)


def _cascade(settings: Settings) -> Iterator[Finding]:
    """Whether the packages are here that only this engine needs."""
    from agent.cascade.voice_activity import VoiceActivity

    try:
        VoiceActivity()
    except AgentError as error:
        yield Finding(Level.PROBLEM, str(error), "or set OFFHOOK_WORKER__ENGINE=builtin")
        return
    yield Finding(Level.OK, "the cascade's voice activity network loads")
    yield from _agent(settings, (), takes_role=bool(settings.cascade.llm_url))


def _agent(
    settings: Settings, voices: Sequence[str], *, takes_role: bool, engine: Stepper | None = None
) -> Iterator[Finding]:
    """Whether this model can be set up as `[agent]` says; with an engine a call is begun so."""
    agent = settings.agent
    try:
        tokens = load_tokens(settings.worker)
        profile = build_profile(agent, tokens)
        check_announcement(settings.recording, tokens)
    except AgentError as error:
        yield Finding(Level.PROBLEM, str(error), "correct it, or unset it")
        return
    if profile.voice and profile.voice not in voices:
        there = f"it has {', '.join(sorted(voices))}" if voices else "it has one voice"
        what = f"the model has no voice {profile.voice!r}: {there}"
        yield Finding(Level.PROBLEM, what, "set OFFHOOK_AGENT__VOICE to one of them, or unset it")
    if profile.role and not takes_role:
        remedy = "unset OFFHOOK_AGENT__ROLE and OFFHOOK_AGENT__ROLE_FILE, or choose a model that takes one"
        yield Finding(Level.PROBLEM, "the model takes no role", remedy)
    elif engine is not None and (not profile.voice or profile.voice in voices):
        try:
            engine.start(0, seed=0, profile=profile)
            engine.stop(0)
        except PromptError as error:
            yield Finding(Level.PROBLEM, f"every call would be refused: {error}", "see OFFHOOK_AGENT__*")


def _capacity(settings: Settings, factory: EngineFactory) -> Iterator[Finding]:
    """What is known of how many calls fit."""
    worker = settings.worker
    kept = CalibrationFile(settings.cache or cache_folder(os.environ), factory.key()).read()
    if kept is None:
        if worker.slots == "auto":
            yield Finding(Level.OK, "how many calls fit is measured at the first start (`offhook calibrate`)")
        return
    measured = f"{kept.num_slots} calls a worker were measured to fit (p99 {1e3 * kept.p99_s:.1f} ms a step)"
    if worker.slots != "auto" and worker.slots > kept.num_slots:
        remedy = "lower OFFHOOK_WORKER__SLOTS or set it to auto"
        yield Finding(Level.NOTE, f"{measured}, {worker.slots} are configured", remedy)
    else:
        yield Finding(Level.OK, measured)
    num_calls, max_calls = worker.count * kept.num_slots, settings.sip.max_calls
    if worker.slots == "auto" and num_calls > max_calls:
        what = f"the workers hold {num_calls} calls, but the gateway takes {max_calls}"
        yield Finding(Level.NOTE, what, "raise OFFHOOK_SIP__MAX_CALLS, and the RTP ports with it")


def _workers(settings: Settings) -> Iterator[Finding]:
    for text in settings.worker.addresses:
        address = WorkerAddress.parse(text)
        cause = _why_not_reachable(address)
        if cause is None:
            yield Finding(Level.OK, f"a worker listens at {text}")
        else:
            remedy = "start that worker, or take it out of OFFHOOK_WORKER__ADDRESSES"
            yield Finding(Level.PROBLEM, f"no worker at {text}: {cause}", remedy)
    num_cores, num_busy = os.cpu_count() or 1, settings.worker.count * settings.worker.threads
    if settings.worker.device == "cpu" and num_busy >= num_cores > 1:
        remedy = "leave one core to telephony: lower OFFHOOK_WORKER__COUNT or OFFHOOK_WORKER__THREADS"
        yield Finding(Level.NOTE, f"workers keep {num_busy} of {num_cores} cores busy", remedy)


def _why_not_reachable(address: WorkerAddress) -> str | None:
    try:
        if address.path:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1.0)
                probe.connect(address.path)
        else:
            socket.create_connection((address.host, address.port), timeout=1.0).close()
    except OSError as error:
        return error.strerror or "no answer within a second"
    return None


def _traces(settings: Settings) -> Iterator[Finding]:
    folder = settings.worker.trace_folder
    if folder is None:
        return
    cause = _why_not_writable(_existing(folder))
    if cause is not None:
        remedy = "make it, give it to this user, or unset OFFHOOK_WORKER__TRACE_FOLDER"
        yield Finding(Level.PROBLEM, f"traces cannot be written to {folder} ({cause})", remedy)
        return
    remedy = "unset OFFHOOK_WORKER__TRACE_FOLDER when you have seen enough"
    yield Finding(Level.NOTE, f"every call's sound and words are kept in {folder}", remedy)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))


def _why_not_writable(folder: Path) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror


def _recordings(settings: Settings) -> Iterator[Finding]:
    folder = settings.recording.folder
    if folder is None:
        yield Finding(Level.OK, "recordings are off")
        idle = sorted(settings.recording.model_fields_set - {"folder"})
        if idle:
            remedy = "set OFFHOOK_RECORDING__FOLDER to a folder for recordings"
            yield Finding(Level.NOTE, f"without a folder recording's {', '.join(idle)} do nothing", remedy)
        return
    above = _existing(folder)
    cause = _why_not_writable(above)
    if cause is not None:
        remedy = "make it, give it to this user, or set OFFHOOK_RECORDING__FOLDER"
        yield Finding(Level.PROBLEM, f"recordings cannot be written to {folder} ({cause})", remedy)
        return
    free_bytes = shutil.disk_usage(above).free
    if free_bytes < LEAST_FREE_BYTES:
        yield Finding(Level.NOTE, f"{free_bytes >> 20} MiB are left for recordings in {folder}", "make room")
    if not settings.recording.consent and not settings.recording.announcement:
        remedy = "set OFFHOOK_RECORDING__ANNOUNCEMENT, or tell callers and set __CONSENT=true"
        yield Finding(Level.NOTE, "calls are recorded without a word on consent", remedy)
    yield Finding(Level.OK, f"recordings go to {folder}")


def _open_files(settings: Settings) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    num_peers = settings.webrtc.max_calls if settings.webrtc.enabled else 0
    needed = FILES_BESIDE_CALLS + FILES_PER_CALL * (settings.sip.max_calls + num_peers)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        yield Finding(Level.OK, f"{soft} open files are allowed, {needed} may be needed")
    else:
        remedy = f"`ulimit -n {needed}`, LimitNOFILE={needed} in a unit, or lower OFFHOOK_SIP__MAX_CALLS"
        yield Finding(
            Level.PROBLEM, f"{soft} open files are allowed ({hard} at most), {needed} needed", remedy
        )


def _transfer(settings: Settings) -> Iterator[Finding]:
    if settings.call.transfer_target is None:
        remedy = "set OFFHOOK_CALL__TRANSFER_TARGET=sip:desk@192.0.2.7 to have callers put through"
        yield Finding(Level.NOTE, "who asks for a person hears that nobody is free", remedy)
    else:
        yield Finding(Level.OK, f"who asks for a person is sent to {settings.call.transfer_target}")


def _drain(settings: Settings) -> Iterator[Finding]:
    target, allowed = settings.drain_transfer_target, settings.outbound.calls_per_minute
    if target is None:
        return
    yield Finding(Level.OK, f"who still talks when a drain is nearly over is handed to {target}")
    if allowed < settings.sip.max_calls:
        remedy = f"OFFHOOK_OUTBOUND__CALLS_PER_MINUTE={settings.sip.max_calls} would let all of them go"
        yield Finding(Level.NOTE, f"at most {allowed} callers a minute are handed over", remedy)


def _delegate(settings: Settings) -> Iterator[Finding]:
    if not settings.agent.delegate_url:
        remedy = "set OFFHOOK_AGENT__DELEGATE_URL=http://..., or answer by POST /v1/calls/{id}/say"
        yield Finding(Level.NOTE, "nobody is asked what the model cannot know", remedy)
    else:
        yield Finding(Level.OK, f"what the model cannot know is asked of {settings.agent.delegate_url}")


def _state(settings: Settings) -> Iterator[Finding]:
    folder = state_folder(settings)
    try:
        num_keys = len(KeyFile(folder).keys) + (settings.http.admin_key is not None)
    except ConfigError as error:
        yield Finding(Level.PROBLEM, f"the API keys: {error}", "or set OFFHOOK_STATE to another folder")
        return
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        yield Finding(Level.PROBLEM, f"{folder} cannot be written", "set OFFHOOK_STATE to a folder that can")
    else:
        yield Finding(Level.OK, f"{num_keys} API keys in {folder}; the first is made and shown by `serve`")


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _python,
    _sip_library,
    _redis,
    check_network.ports,
    check_network.rtp_range,
    check_network.peers,
    check_network.trunks,
    check_network.outbound,
    _workers,
    _state,
    _recordings,
    _traces,
    _open_files,
    _transfer,
    _drain,
    _delegate,
    _model,
)
