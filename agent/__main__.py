"""The `offhook` command: reads the settings once, picks a sub-command, and wires nothing else.

Where a sub-command lives. Each module in `COMMANDS` exposes two functions::

    def add_arguments(parser: argparse.ArgumentParser) -> None: ...
    def run(args: argparse.Namespace, settings: Settings) -> int: ...    # the exit code

- Only the chosen module is imported, so `offhook --help` stays fast; keep what is heavy (torch, pjsua2,
  matplotlib) out of module level, or behind it, so that `offhook talk --help` is fast too.
- `run` starts its own event loop (`asyncio.run`) if it needs one. It returns 0 when all is well and 1 when
  what it did came out badly; it raises an `AgentError` (or the base error of telephony or model) for what the
  operator can mend: that is printed as one line, without a traceback, and the exit code is 1. Usage and
  configuration errors exit with 2.
- `serve` has no arguments of its own (`agent.serve.run(settings) -> int`), and `model.training`, which
  stands below this package, gets no settings (`run(args) -> int`).
- Settings come from the environment and `OFFHOOK_CONFIG` alone; what a sub-command takes as an argument is
  about that one run (files, counts, addresses to call).
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

DESCRIPTION = """\
offhook answers the telephone with a speech-to-speech model: self-hosted, one real line, no cloud.

  offhook serve                            answer calls on sip:order@127.0.0.1:5060
  offhook call sip:order@127.0.0.1:5060    call it from a test caller that measures what it hears
  offhook demo                             all in one: serve, one scripted order, a picture of the call
  offhook check                            what would stop `serve` on this machine, and what to do about it
"""
EPILOG = """\
settings come from variables (OFFHOOK_SIP__PORT=5080) or one TOML file named by OFFHOOK_CONFIG;
`offhook check --settings` lists them all with their values.
Exit codes: 0 well, 1 failed, 2 wrong usage or settings.
"""


@dataclass(frozen=True, slots=True)
class Command:
    """One sub-command: where its code is, and what `--help` says of it."""

    module: str
    summary: str
    example: str
    takes_settings: bool = True


COMMANDS: dict[str, Command] = {
    "serve": Command(
        "agent.serve",
        "answer calls until stopped",
        "offhook serve\n"
        "OFFHOOK_RECORDING__FOLDER=calls OFFHOOK_WORKER__SLOTS=4 offhook serve\n"
        "OFFHOOK_SIP__BIND_ADDRESS=192.0.2.7 OFFHOOK_SIP__ALLOWED_PEERS=192.0.2.0/24 offhook serve",
    ),
    "call": Command(
        "agent.evaluation.caller",
        "place a test call: play a recording, record both sides, report gaps, overlaps and stops",
        "offhook call sip:order@127.0.0.1:5060 --play order.wav --record both.wav --json report.json",
    ),
    "talk": Command(
        "agent.talk",
        "run the model offline over a file, frame by frame, without a telephone",
        "offhook talk question.wav answer.wav\noffhook talk --replay traces/20260102T030405Z-1a2b3c4d.npz",
    ),
    "eval": Command(
        "agent.evaluation.command",
        "scripted callers over real SIP, or against the model alone, judged from what they heard",
        "offhook eval\n"
        "offhook eval --virtual --rows floor,dialogue --trials 20 --concurrent 4\n"
        "offhook eval --quick\n"
        "offhook eval --offline --calls 24 --concurrent 6",
    ),
    "score": Command(
        "agent.evaluation.score_files",
        "the field's metrics over a benchmark's folder (Full-Duplex-Bench, URO-Bench) or a recorded call",
        "offhook score both.wav\noffhook score v1_0 --json scores.json",
    ),
    "demo": Command(
        "agent.evaluation.demo",
        "place one scripted order, print the dialogue as it happens, draw it",
        "offhook demo",
    ),
    "bench bridge": Command(
        "agent.bench_bridge",
        "delay between the network and the model, proven by an injected known delay",
        "offhook bench bridge",
    ),
    "bench worker": Command(
        "agent.bench_worker", "time of a worker's tick and calls per core", "offhook bench worker"
    ),
    "bench engine": Command(
        "agent.bench_engine",
        "time of a model step at full size, against what its memory traffic must take",
        "offhook bench engine --preset builtin\n"
        "offhook bench engine --preset moshiko --batch 1,2,4,8 --context 3000 --device cuda --reference",
    ),
    "bench long": Command(
        "agent.bench_long",
        "a call of an hour beside others, equal to the call alone; or (--drift) whether old calls grow worse",
        "offhook bench long --minutes 60\noffhook bench long --drift",
    ),
    "bench calls": Command(
        "agent.bench_calls", "hundreds of calls: leaks, refusals, capacity", "offhook bench calls"
    ),
    "load": Command(
        "agent.load",
        "many calls at once: set-up, lateness, silence, wrong sound, CPU and memory per call; or a soak",
        "offhook load --calls 50,100,150,200,250,300\noffhook load --calls 2000 --concurrent 50 --hold 12",
    ),
    "bench signalling": Command(
        "agent.bench_signalling",
        "calls begun and ended per second, placed by SIPp: set-up times, failures, CPU",
        "offhook bench signalling --rates 10,20,50",
    ),
    "bench survival": Command(
        "agent.bench_survival",
        "calls of the model whose worker is killed, or whose Redis is away",
        "offhook bench survival --calls 4",
    ),
    "bench drain": Command(
        "agent.bench_drain",
        "stops, upgrades and worker restarts under live calls: none may be cut",
        "offhook bench drain --calls 20",
    ),
    "bench hostile": Command(
        "agent.bench_hostile",
        "a million broken packets, strangers, forged sound and slow connections beside live calls",
        "offhook bench hostile --packets 1000000 --calls 4",
    ),
    "bench console": Command(
        "agent.bench_console",
        "hundreds of live calls watched by pages: updates, and what they cost the gateway",
        "offhook bench console --calls 200 --pages 0,1,10",
    ),
    "bench webrtc": Command(
        "agent.bench_webrtc",
        "response gap of WebRTC calls beside SIP calls, on clean and on bad networks",
        "offhook bench webrtc --calls 4 --turns 20",
    ),
    "bench loss": Command(
        "agent.bench_loss",
        "how much longer callers wait on bad networks, and after them; callers who move in mid-call",
        "offhook bench loss --calls 12",
    ),
    "bench versus": Command(
        "agent.bench_versus",
        "the same scripted calls on the model and on a cascade, clean and in noise, drawn on one page",
        "offhook bench versus --calls 8\noffhook bench versus --rooms clean --text-first",
    ),
    "models": Command(
        "agent.models",
        "the models that can be run: what they do, what they need, whether they are here",
        "offhook models\noffhook models personaplex",
    ),
    "keys": Command(
        "agent.keys_command",
        "make, list and revoke the keys of the HTTP side",
        "offhook keys add supervisor --rights calls:read,recordings:read\n"
        "offhook keys list\n"
        "offhook keys revoke 1a2b3c4d",
    ),
    "recordings": Command(
        "agent.recordings_command",
        "open sealed recordings, list all, delete the old ones",
        "offhook recordings list\n"
        "offhook recordings open calls/20260102T030405Z-1a2b3c4d.sealed call.flac\n"
        "offhook recordings open calls/20260102T030405Z-1a2b3c4d.sealed - | aplay\n"
        "offhook recordings purge --days 30 --dry-run",
    ),
    "train": Command(
        "model.training",
        "train the built-in model, resumable, on CPU or CUDA",
        "offhook train --help",
        takes_settings=False,
    ),
    "calibrate": Command(
        "agent.calibrate",
        "measure how many calls a worker holds on this machine, and keep it for `serve`",
        "offhook calibrate",
    ),
    "check": Command(
        "agent.check",
        "configuration and environment, each problem with its remedy",
        "offhook check\noffhook check --settings",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = _chosen(words)
    parser, chosen = _parsers(name)
    if name is None or chosen is None:
        parser.parse_args(words)  # prints --help, or refuses an unknown name
        parser.print_help(sys.stderr)
        return 2
    if name != "serve" and COMMANDS[name].takes_settings:  # a line's calls end first; training may be cut off
        signal.signal(signal.SIGTERM, _end)
    try:
        return _run(name, words, parser, chosen)
    except KeyboardInterrupt:
        return 130  # as shells count an interrupt
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has left: nobody to tell
        return 1


def _end(number: int, _frame: object) -> None:
    """Leave by every `finally`, as an interrupt does: a line that we started ends with us."""
    signal.signal(number, signal.SIG_IGN)  # a second one would break off what the first began
    raise SystemExit(128 + number)


def _run(
    name: str, words: list[str], parser: argparse.ArgumentParser, chosen: argparse.ArgumentParser
) -> int:
    from agent import logs  # these after --help, which must not wait for pydantic
    from agent.errors import AgentError, ConfigError
    from agent.settings_reader import load_settings
    from model.errors import ModelError
    from telephony.errors import TelephonyError

    command, mendable = COMMANDS[name], (AgentError, ModelError, TelephonyError)
    try:
        module = importlib.import_module(command.module)
        if name != "serve":
            module.add_arguments(chosen)
        args = parser.parse_args(words)
        if not command.takes_settings:
            return _mended(lambda: cast(Callable[[argparse.Namespace], int], module.run)(args), mendable)
        settings = load_settings(os.environ)
        logs.configure(settings.log.format, settings.log.level, show_pii=settings.log.pii)
        return _mended(
            lambda: module.run(settings) if name == "serve" else module.run(args, settings), mendable
        )
    except ConfigError as error:
        print(f"offhook: {error}", file=sys.stderr)
        return 2
    except mendable as error:
        print(f"offhook {name}: {error}", file=sys.stderr)
        return 1


def _mended(run: Callable[[], int], mendable: tuple[type[Exception], ...]) -> int:
    """Run; where a group of tasks failed, raise the one error that the operator can mend."""
    try:
        return int(run())
    except BaseExceptionGroup as group:
        error: BaseException | None = group.subgroup(mendable)
        if error is None:
            raise
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


def _chosen(words: Sequence[str]) -> str | None:
    """The sub-command these words name, in full (`bench calls`), or None."""
    for length in (1, 2):
        if " ".join(words[:length]) in COMMANDS and len(words) >= length:
            return " ".join(words[:length])
    return None


def _parsers(chosen: str | None) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser | None]:
    """The whole parser, and the chosen sub-command's, to which only its own module adds arguments."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("offhook", description=DESCRIPTION, epilog=EPILOG, formatter_class=shape)
    groups = {"": parser.add_subparsers(title="sub-commands", metavar="COMMAND")}
    made: dict[str, argparse.ArgumentParser] = {}
    for name, command in COMMANDS.items():
        group, _, leaf = name.rpartition(" ")
        if group not in groups:
            above = groups[""].add_parser(group, help=f"{group} something: see `offhook {group} --help`")
            groups[group] = above.add_subparsers(title="what to measure", metavar="WHAT", required=True)
        examples = "examples:\n" + "\n".join(f"  {line}" for line in command.example.splitlines())
        made[name] = groups[group].add_parser(
            leaf, help=command.summary, description=command.summary, epilog=examples, formatter_class=shape
        )
    return parser, made.get(chosen or "")


if __name__ == "__main__":
    sys.exit(main())
