"""`offhook bench versus`: the same scripted calls on the model and on a cascade, side by side, and drawn.

Held without a telephone, in a clean room and in noise. The cascade is `agent.cascade`, set up by
`OFFHOOK_CASCADE__*` as it would be for `OFFHOOK_WORKER__ENGINE=cascade`; with --text-first the model answers
text first as well. The same words are also said in four tones, which a recogniser does not hear.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agent.engines import CASCADE, model_folder
from agent.errors import AgentError
from agent.evaluation.offline import Answerer
from agent.evaluation.quick import engine_mark, model_digest
from agent.evaluation.versus import ROOMS, SCRIPTS, Figures, Room, hold
from agent.evaluation.versus_tone import CHANCE, ToneFigures, hold_tones
from agent.evaluation.virtual_engine import virtual_cascade, with_engine
from agent.machine import this_machine
from agent.settings import Settings

DEFAULT_CALLS = 8
DEFAULT_TONES = 5
CONCURRENT = 2
MODEL, TEXT_FIRST = "model", "text first"

console = Console()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `offhook bench versus`."""
    parser.add_argument("--calls", type=int, default=DEFAULT_CALLS, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--rooms", default=",".join(room.name for room in ROOMS), help="of clean, 20 dB, 10 dB"
    )
    parser.add_argument(
        "--scripts", choices=tuple(SCRIPTS), default="short", help="short: plain orders; whole: every slot"
    )
    parser.add_argument(
        "--tones", type=int, default=DEFAULT_TONES, metavar="N", help="calls of each of four tones; 0: none"
    )
    parser.add_argument(
        "--text-first", action="store_true", help="also the model, text first, in the first room"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("versus"), help="recordings, figures and the page"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Hold the calls, print the tables, draw the page; always 0: it measures and judges nobody."""
    if args.calls < 1 or args.tones < 0:
        raise AgentError("--calls counts from 1, --tones from 0")
    figures, tones = _held(args, settings)
    told = {
        "machine": str(this_machine()),
        "figures": [one.as_json() for one in figures],
        "tones": [one.as_json() for one in tones],
    }
    (args.folder / "versus.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    console.print(versus_table(figures))
    if tones:
        console.print(tone_table(tones))
    from agent.evaluation.versus_picture import draw_versus

    title = f"{args.calls} scripted calls a room, held-out voices and wordings"
    note = f"Without a telephone; seed {args.seed}, {args.scripts} scripts."
    console.print(f"drawn: {draw_versus(figures, tones, title, note, args.folder)}", highlight=False)
    return 0


def _held(args: argparse.Namespace, settings: Settings) -> tuple[list[Figures], list[ToneFigures]]:
    """Every engine's calls, one engine after another."""
    figures: list[Figures] = []
    tones: list[ToneFigures] = []
    rooms = _rooms(args.rooms)
    for name, make, digest in _engines(settings, with_text_first=args.text_first):
        engine = make()
        for room in rooms[: 1 if name == TEXT_FIRST else None]:
            figures.append(
                hold(
                    name,
                    engine,
                    digest,
                    room,
                    args.folder,
                    calls=args.calls,
                    seed=args.seed,
                    scripts=args.scripts,
                )
            )
        if args.tones and name != TEXT_FIRST:
            tones.append(hold_tones(name, engine, digest, args.folder, calls=args.tones, seed=args.seed))
        del engine
        gc.collect()
    return figures, tones


def _rooms(names: str) -> list[Room]:
    known = {room.name: room for room in ROOMS}
    wanted = [name.strip() for name in names.split(",")]
    if missing := [name for name in wanted if name not in known]:
        raise AgentError(f"there is no room {missing[0]!r}; write some of {', '.join(known)}, with commas")
    return [known[name] for name in wanted]


def _engines(
    settings: Settings, *, with_text_first: bool
) -> Iterator[tuple[str, Callable[[], Answerer], str]]:
    """(name, how to make it, what tells its results from another's)."""
    from agent.evaluation.text_first import TextFirst
    from model.engine import Engine

    folder, device = model_folder(settings.worker.model_dir), settings.worker.device
    digest, as_cascade = model_digest(folder), with_engine(settings.worker, CASCADE)
    own = settings.cascade
    yield MODEL, lambda: Engine.load(folder, CONCURRENT, device=device), digest
    yield CASCADE, lambda: virtual_cascade(settings.worker, own, CONCURRENT), engine_mark(as_cascade, own)
    if with_text_first:
        yield TEXT_FIRST, lambda: TextFirst(Engine.load(folder, 2 * CONCURRENT, device=device)), digest


def versus_table(figures: list[Figures]) -> Table:
    """One row an engine and room."""
    heads = (
        "engine",
        "room",
        "gap p50",
        "p95",
        "cut in",
        "stop",
        "right",
        "wrong",
        "again",
        "else",
        "others",
    )
    table = Table(
        *heads, title="orders: right, wrong order read back, asked again, else; others: other turns"
    )
    for one in figures:
        s, o = one.summary, one.orders
        stop = f"{1000 * s.stops.p50:.0f} ms" if s.stops.num else "none"
        times = (f"{1000 * one.gaps.p50:.0f} ms", f"{1000 * one.gaps.p95:.0f} ms")
        outcomes = (f"{part.right}/{part.num}" for part in (o.right, o.wrong, o.again, o.else_, s.fixed))
        table.add_row(one.engine, one.room, *times, f"{s.early.right}/{s.early.num}", stop, *outcomes)
    return table


def tone_table(figures: list[ToneFigures]) -> Table:
    """One row an engine and tone of callers: which tone its answers had."""
    answers = list(dict.fromkeys(tone for one in figures for tone in one.answers))
    title = f"the same words in four tones: answers by tone; {CHANCE:.0%} in the caller's own is chance"
    table = Table("engine", "caller", *answers, "no line", "in tone", title=title)
    for one in figures:
        for caller, got in one.answers.items():
            counts = [got.get(tone, 0) for tone in answers]
            cells = [str(num) for num in (*counts, sum(got.values()) - sum(counts))]
            table.add_row(one.engine, caller, *cells, f"{got.get(caller, 0)}/{sum(got.values())}")
        table.add_row(one.engine, "all", *[""] * (len(answers) + 1), str(one.in_tone), end_section=True)
    return table
