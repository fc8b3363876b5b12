"""What `serve` gives its HTTP side, and how it tells the operator to open the console."""

from __future__ import annotations

import ipaddress

import structlog

from agent import metrics
from agent.access import Access
from agent.access_keys import EVERYTHING, KeyFile
from agent.caller_hash import load_salt
from agent.control import Served
from agent.keys_command import state_folder
from agent.recording_index import RecordingIndex
from agent.recordings_command import keyring
from agent.settings import Settings

FIRST_KEY = "first"

log = structlog.get_logger(__name__)


def served_by(settings: Settings) -> Served:
    """The keys, the recordings, and what the state folder holds for them.

    Raises ConfigError if the keys cannot be read, or the folder cannot be written.
    """
    folder, http = state_folder(settings), settings.http
    admin_key = http.admin_key.get_secret_value() if http.admin_key else ""
    access = Access(KeyFile(folder, admin_key), origins=http.origins, requests_per_s=http.requests_per_s)
    _ = access.keys.keys  # what is wrong with the file is told now, not at the first request
    recordings = settings.recording.folder
    index = RecordingIndex(recordings, keyring(settings.recording)) if recordings else None
    return Served(metrics.REGISTRY, access, index, load_salt(folder), show_pii=settings.log.pii)


def _host(bind_address: str) -> str:
    """How a browser here names where we listen: localhost is given a microphone, 0.0.0.0 is not."""
    address = ipaddress.ip_address(bind_address)
    if address.is_unspecified:
        return "localhost"
    return f"[{address}]" if address.version == 6 else str(address)


def welcome(settings: Settings, port: int, access: Access) -> None:
    """Print a link that opens the console once and, where there is no key yet, a first one.

    Logs that are collected (JSON) get no secrets: there the operator is told to make a key.
    """
    if settings.log.format == "json":
        if not access.keys.keys:
            log.warning("no_api_key", remedy="run `offhook keys add NAME` with the same OFFHOOK_STATE")
        return
    link = f"http://{_host(settings.http.bind_address)}:{port}/#code={access.new_login_code()}"
    lines = [f"  console: {link}", "           (opens once, within ten minutes)"]
    if not access.keys.keys:
        key = access.keys.add(FIRST_KEY, EVERYTHING)
        lines += [f"  API key, shown this once: {key}", "           (another: offhook keys add NAME)"]
    print("\n".join(lines), flush=True)
