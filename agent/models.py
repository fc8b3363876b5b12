"""`offhook models`: the models that are known by name, and whether a folder holds what it should.

Only names, shapes and sizes are read: no weights, and nothing is downloaded.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agent.settings import Settings
from model.config import ModelConfig
from model.errors import CheckpointError, ModelError
from model.footprint import BFLOAT16_BYTES, FLOAT32_BYTES, call_bytes, num_parameters, weight_bytes
from model.model_folder import ModelFolder, check_folder, open_folder
from model.presets import SHIPPED, Preset, find_model, hub_cache_folder, presets

MAX_NAMED = 12  # problems of a folder that are listed
FRAME_S = 0.08


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `offhook models`."""
    parser.add_argument(
        "name", nargs="?", help="show this model alone and check its files: a name or a folder"
    )
    parser.add_argument(
        "--directory", type=Path, help="a folder of model folders, searched before the hub's cache"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the table, or one model; 1 if that model is not here or its files do not fit."""
    console = Console(highlight=False)
    search = Search(args.directory, hub_cache_folder(os.environ))
    if args.name is None:
        console.print(table(search))
        console.print(
            "Memory is that of bfloat16, and float32 for builtin; a call's is with its window full.\n"
            "`offhook models NAME` shows the rest, and checks the files."
        )
        return 0
    return show(args.name, search, console)


class Search:
    """Where models are looked for."""

    def __init__(self, directory: Path | None, hub_cache: Path) -> None:
        self.directory, self.hub_cache = directory, hub_cache

    def find(self, name: str) -> Path:
        """A model's folder.

        Raises CheckpointError naming where it was looked for and how to fetch it.
        """
        return find_model(name, directory=self.directory, hub_cache=self.hub_cache)

    def place(self, preset: Preset) -> Path | None:
        """A preset's folder, None if it is not on this machine."""
        try:
            return self.find(preset.name)
        except CheckpointError:
            return None


def table(search: Search) -> Table:
    """Every model, a row each."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0))
    shown.add_column("model", style="bold", no_wrap=True)
    shown.add_column("what it does, and where it is", ratio=1)
    for heading in ("size", "weights", "a call"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("licence", max_width=16)
    for preset in presets().values():
        lm, codec = num_parameters(preset.config)
        width, spoken = _width(preset), _spoken(preset.config)
        shown.add_row(
            preset.name,
            f"{escape(_capital(preset.summary))}\n{_whereabouts(preset, search)}",
            _short(lm + codec),
            _size(weight_bytes(spoken, width)),
            _size(call_bytes(spoken, width)),
            preset.licence,
        )
    return shown


def _whereabouts(preset: Preset, search: Search) -> str:
    place = search.place(preset)
    if place in SHIPPED.values():
        return "[green]here[/], part of offhook"
    if place is not None and place.is_relative_to(search.hub_cache):
        return "[green]here[/], in the hub's cache"
    if place is not None:
        return f"[green]here[/]: {escape(_home(place))}"
    gate = " (accept its licence on the hub first)" if preset.is_gated else ""
    return f"[cyan]{escape(preset.fetch_command)}[/]{gate}"


def _home(path: Path) -> str:
    """A path, short if it lies below the home folder."""
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _width(preset: Preset) -> int:
    return BFLOAT16_BYTES if preset.repository else FLOAT32_BYTES


def _short(number: int) -> str:
    return f"{number / 1e9:.1f} B" if number >= 1e9 else f"{number / 1e6:.0f} M"


def _size(num_bytes: int) -> str:
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.1f} GB"
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.0f} kB"


def _spoken(config: ModelConfig) -> ModelConfig:
    """What is loaded of a model to speak."""
    return replace(config, lm=replace(config.lm, dep_q=config.lm.agent_q))


def _draw(temperature: float, top_k: int) -> str:
    return f"at temperature {temperature:g}, of {top_k}" if temperature else "the likeliest"


def show(name: str, search: Search, console: Console) -> int:
    """Print all about one model and check its files; the exit code."""
    preset = presets().get(name)
    rows = list(_about(preset)) if preset is not None else []
    try:
        folder = open_folder(search.find(name), hub_cache=search.hub_cache)
        if preset is None and folder.name in presets():
            rows = list(_about(presets()[folder.name]))
        rows += _files(folder)
        found = list(check_folder(folder))
    except ModelError as error:
        console.print(_grid([*rows, ("[red]not ready[/]", escape(str(error)))]))
        return 1
    if not found:
        rows.append(("[green]ready[/]", "every tensor is there and has the right shape"))
    else:
        rows.append(("[red]not ready[/]", f"{_count(found)} not fit; download the files again:"))
        rows += (("", escape(line)) for line in found[:MAX_NAMED])
        rows += [("", f"and {len(found) - MAX_NAMED} more")] * (len(found) > MAX_NAMED)
    console.print(_grid(rows))
    return 1 if found else 0


def _count(found: list[str]) -> str:
    return "1 thing does" if len(found) == 1 else f"{len(found)} things do"


def _grid(rows: Iterable[tuple[str, str]]) -> Table:
    shown = Table.grid(padding=(0, 2, 0, 0))
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column()
    for heading, text in rows:
        shown.add_row(heading, text)
    return shown


def _about(preset: Preset) -> Iterator[tuple[str, str]]:
    lm, width = preset.config.lm, _width(preset)
    numbers, codec = num_parameters(preset.config)
    yield preset.name, escape(_capital(preset.summary))
    if preset.repository:
        yield (
            "repository",
            f"{preset.repository}" + (" (gated: accept its licence there)" if preset.is_gated else ""),
        )
    yield "licence", preset.licence
    yield "size", f"{_short(numbers)} language model, {_short(codec)} codec"
    yield (
        "streams",
        f"text, {lm.agent_q} of the agent, {lm.caller_q} of the caller; window {lm.context * FRAME_S:.0f} s",
    )
    eight = "; stored in 8 bits, spread to 16 when loaded" if preset.is_quantized else ""
    spoken = _spoken(preset.config)
    memory = f"weights {_size(weight_bytes(spoken, width))}, a call {_size(call_bytes(spoken, width))}"
    yield "memory", f"{memory} when its window is full{eight}"
    if lm.agent_q < lm.dep_q:
        spare = weight_bytes(preset.config, width) - weight_bytes(spoken, width)
        yield "", f"the depth steps of the caller are left in the file, which spares {_size(spare)}"
    drawn = preset.config.sampling
    text = _draw(drawn.text_temperature, drawn.text_top_k)
    yield "sampling", f"text {text}; audio {_draw(drawn.audio_temperature, drawn.audio_top_k)}"
    if preset.prompt is not None:
        yield "prompt", f"a voice, then a role in words ({escape(preset.prompt.wrap_role('...'))})"
    if preset.voices:
        yield "voices", ", ".join(preset.voices)


def _files(folder: ModelFolder) -> Iterator[tuple[str, str]]:
    yield "folder", escape(_home(folder.directory))
    paths = [folder.weights, folder.lora, folder.codec, folder.tokenizer, *folder.voices]
    for index, path in enumerate(path for path in paths if path is not None):
        size = _size(path.stat().st_size) if path.is_file() else "folder"
        yield "files" if not index else "", f"{escape(path.name)} ({size})"
