"""baresip as a caller, in a network of its own, because it refuses to use the loopback interface."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import soundfile

from telephony.audio import to_int16
from tests.loopback.privilege import as_root
from tests.signals import Pcm

CODECS = {"PCMU": ("PCMU/8000/1", 8_000), "PCMA": ("PCMA/8000/1", 8_000), "G722": ("G722/16000/1", 16_000)}
STEREO_OPUS = "opus"  # a sender that offers, and sends, two channels
MODULES = ("g711", "g722", "opus", "aufile", "aubridge", "sndfile", "dtls_srtp")
CONFIG = """\
poll_method epoll
sip_listen {own}:0
call_max_calls 1
audio_source aufile,{folder}/said.wav
audio_player aubridge,nowhere
audio_alert aubridge,nowhere
ausrc_srate {rate}
auplay_srate {rate}
ausrc_channels {channels}
auplay_channels {channels}
opus_stereo yes
opus_sprop_stereo yes
rtp_ports 30000-30100
jitter_buffer_delay 1-5
net_interface {interface}
snd_path {folder}
module_path {modules}
"""


class Network:
    """A network namespace joined to ours by a cable of two addresses; gone when left."""

    def __init__(self) -> None:
        number = os.getpid() % 16_000
        self.name, self.ours, self.theirs = f"offhook{number}", f"oh{number}a", f"oh{number}b"
        base = f"10.{213 + number // 8192}.{number // 32 % 256}.{number % 32 * 8}".rsplit(".", 1)
        self.gateway = f"{base[0]}.{int(base[1]) + 1}"
        self.phone = f"{base[0]}.{int(base[1]) + 2}"
        self.cidr = f"{base[0]}.{base[1]}/30"

    def __enter__(self) -> Self:
        for line in (
            f"netns add {self.name}",
            f"link add {self.ours} type veth peer name {self.theirs} netns {self.name}",
            f"addr add {self.gateway}/30 dev {self.ours}",
            f"link set {self.ours} up",
            f"-n {self.name} addr add {self.phone}/30 dev {self.theirs}",
            f"-n {self.name} link set {self.theirs} up",
            f"-n {self.name} link set lo up",
        ):
            subprocess.run(as_root(["ip", *line.split()]), check=True)
        return self

    def __exit__(self, *exc: object) -> None:
        subprocess.run(as_root(["ip", "link", "del", self.ours]), check=False)
        subprocess.run(as_root(["ip", "netns", "del", self.name]), check=False)


@dataclass(frozen=True, slots=True)
class Heard:
    """What one call left behind."""

    log: str
    heard: Pcm  # [T] at `rate`: what baresip decoded
    rate: int


def baresip_call(
    network: Network, folder: Path, *, uri: str, codec: str, said: Pcm, seconds: int, encryption: str = ""
) -> Heard:
    """Call `uri` with this codec alone, say float32 [T] at the codec's rate, hang up after `seconds`.

    `encryption` is baresip's word for it: "dtls_srtp".

    With `STEREO_OPUS` both channels say the same.
    """
    assert shutil.which("baresip"), "baresip is missing; `make setup` installs it (Debian: baresip-core)"
    is_stereo = codec == STEREO_OPUS
    line, rate = ("opus/48000/2", 48_000) if is_stereo else CODECS[codec]
    both = np.repeat(to_int16(said)[:, None], 2, axis=1) if is_stereo else to_int16(said)
    soundfile.write(folder / "said.wav", both, rate)
    modules = next(Path("/usr/lib").glob("**/baresip/modules"))
    words = {
        "own": network.phone,
        "interface": network.theirs,
        "folder": folder,
        "rate": rate,
        "modules": modules,
        "channels": 2 if is_stereo else 1,
    }
    config = CONFIG.format(**words) + "".join(f"module {name}.so\n" for name in MODULES)
    (folder / "config").write_text(config + "module_tmp account.so\nmodule_app menu.so\n")
    secret = f";mediaenc={encryption}" if encryption else ""
    (folder / "accounts").write_text(f"<sip:phone@{network.phone}>;regint=0;audio_codecs={line}{secret}\n")
    (folder / "contacts").write_text("")
    command = ["ip", "netns", "exec", network.name, "baresip", "-f", str(folder)]
    finished = subprocess.run(
        as_root([*command, "-e", f"/dial {uri}", "-t", str(seconds)]),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds + 20,
        text=True,
        errors="replace",
    )
    log = finished.stdout + finished.stderr
    files = sorted(folder.glob("dump-*-dec.wav"))
    assert files, f"baresip heard nothing (exit {finished.returncode}):\n{log[-3000:]}"
    heard, heard_rate = soundfile.read(files[0], dtype="float32")
    assert heard_rate == rate, (heard_rate, rate)
    return Heard(log, np.asarray(heard, np.float32).reshape(len(heard), -1)[:, 0], rate)
