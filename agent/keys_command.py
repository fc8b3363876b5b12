"""`offhook keys`: add, list and revoke the API keys of the state folder; a running gateway follows."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path

from agent.access_keys import KeyFile, Right, default_state_folder, parse_rights
from agent.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What each of the three takes."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a key and print it, once")
    add.add_argument("name", help="whom or what it is for, like `supervisor` or `prometheus`")
    add.add_argument(
        "--rights",
        default=Right.ADMIN.value,
        help=f"with commas, from: {', '.join(Right)} (default: admin, which is all of them)",
    )
    actions.add_parser("list", help="every key: id, name, rights, age; no key itself is kept")
    revoke = actions.add_parser("revoke", help="make a key void at once, with the console sessions it opened")
    revoke.add_argument("key_id", help="the id, as `list` shows it")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do it; the exit code. Raises ConfigError for what cannot be."""
    keys = KeyFile(state_folder(settings))
    if args.action == "add":
        print(keys.add(args.name, parse_rights(args.rights.split(","))))
    elif args.action == "revoke":
        print(f"revoked {args.key_id} ({keys.revoke(args.key_id).name})")
    else:
        for key in keys.keys:
            made = datetime.fromtimestamp(key.created_at_s, UTC).strftime("%Y-%m-%d")
            print(f"{key.key_id}  {made}  {key.name:24}  {','.join(sorted(key.rights))}")
    return 0


def state_folder(settings: Settings) -> Path:
    """Where the keys are."""
    return settings.state or default_state_folder(os.environ)
