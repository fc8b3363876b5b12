"""linphone's console program as a telephone: registered with a server, called through it, and calling."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Self

import numpy as np
import soundfile

from agent.child_process import wait_or_kill
from telephony.audio import to_int16
from tests.loopback.kamailio import REALM, SECRET, USER
from tests.loopback.sipp import find_free_port
from tests.signals import Pcm

CODECS = {"opus": 48_000, "PCMU": 8_000}
RATE_HZ = 16_000  # of what it plays and records
CONFIG = """\
[sip]
sip_port={port}
sip_tcp_port={port}
default_proxy=0
guess_hostname=1
keepalive_period=0
use_ipv6=0
media_encryption=none

[rtp]
audio_rtp_port=30200-30299
video_rtp_port=30300-30399

[net]
firewall_policy=0

[sound]
echocancellation=0

[video]
enabled=0
capture=0
display=0

[misc]
add_missing_audio_codecs=0
store_friends=0

[proxy_0]
reg_proxy=<sip:127.0.0.1:{registrar};transport=udp>
reg_identity=sip:{user}@{realm}
reg_expires=60
reg_sendregister=1
publish=0

[auth_info_0]
username={user}
passwd={secret}
realm={realm}
domain={realm}
"""


class Linphone:
    """`linphonec` while open; it takes every call, plays `said` and records what it hears."""

    def __init__(self, folder: Path, said: Pcm, registrar: int) -> None:
        """`said` is float32 [T] at RATE_HZ; `registrar` the port of a server on loopback."""
        self._folder, self._num_calls = folder, 0
        self._lines: list[str] = []
        words = {"registrar": registrar, "port": find_free_port()}
        codecs = [
            f"[audio_codec_{number}]\nmime={name}\nrate={rate}\nenabled=1\n"
            for number, (name, rate) in enumerate(CODECS.items())
        ]
        (folder / ".local/share/linphone").mkdir(parents=True, exist_ok=True)
        (folder / "linphonerc").write_text(
            CONFIG.format(**words, user=USER, secret=SECRET, realm=REALM) + "\n".join(codecs)
        )
        soundfile.write(folder / "said.wav", to_int16(said), RATE_HZ)

    def __enter__(self) -> Self:
        program = shutil.which("linphonec")
        assert program, "linphonec is missing; `make setup` installs it (Debian: linphone-cli)"
        self._keys, terminal = os.openpty()  # it does nothing between lines where stdin is no terminal
        self._process = subprocess.Popen(
            [program, "-a", "-c", str(self._folder / "linphonerc")],
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"HOME": str(self._folder), "PATH": "/usr/bin:/bin"},
            text=True,
            errors="replace",
        )
        os.close(terminal)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.tell("soundcard use files")
        return self

    def __exit__(self, *exc: object) -> None:
        self.tell("quit")
        wait_or_kill(self._process, 5)
        self._reader.join()
        os.close(self._keys)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def tell(self, *commands: str) -> None:
        """Type these lines."""
        os.write(self._keys, "".join(f"{command}\n" for command in commands).encode())

    def take_only(self, codec: str) -> None:
        """The next call has this codec, plays from the beginning, and is recorded anew."""
        self._num_calls += 1
        wishes = [
            f"codec {'enable' if name == codec else 'disable'} {place}" for place, name in enumerate(CODECS)
        ]
        self.tell(*wishes, f"play {self._folder}/said.wav", f"record {self._heard}")

    @property
    def _heard(self) -> Path:
        return self._folder / f"heard{self._num_calls}.wav"

    def wait(self, words: str, count: int = 1, timeout_s: float = 10.0) -> None:
        """Return when it has said so in so many lines."""
        deadline_s = time.monotonic() + timeout_s
        while sum(words in line for line in list(self._lines)) < count:
            assert time.monotonic() < deadline_s, f"no {words!r}: {self.log}"
            time.sleep(0.02)

    @property
    def log(self) -> str:
        """The last of what it has said."""
        return "\n".join(self._lines[-40:])

    def heard(self) -> tuple[Pcm, int]:
        """What it heard in the last call, float32 [T], and at which rate; waits for that call's end."""
        self.wait("ended", self._num_calls)
        sound, rate = soundfile.read(self._heard, dtype="float32")
        return np.asarray(sound, np.float32).reshape(len(sound), -1)[:, 0], rate

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.rstrip())
