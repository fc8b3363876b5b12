"""Kamailio as a carrier's registrar and proxy on loopback: digest, bindings in memory, calls to them."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Self

from agent.child_process import stop
from tests.loopback.sipp import find_free_port

USER, SECRET, REALM = "1000", "registrar-secret", "carrier.test"
PROVED = "proved"  # calling this is calling USER, for those who prove that they are
CONFIG = """\
debug=1
log_stderror=yes
children=1
auto_aliases=no
alias="{realm}"
listen=udp:127.0.0.1:{port}
listen=tcp:127.0.0.1:{port}
tcp_children=1
mpath="{modules}"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "auth.so"
modparam("registrar", "max_expires", {expires_s})
modparam("registrar", "min_expires", 1)
modparam("auth", "algorithm", "{algorithm}")
request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (has_totag()) {{
        loose_route();
        if (is_gruu()) lookup("location");
        t_relay();
        exit;
    }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
    if (is_method("REGISTER")) {{
        if (!pv_www_authenticate("{realm}", "{secret}", "0")) {{
            xlog("L_ERR", "@challenged $fU $hdr(Authorization)\\n");
            www_challenge("{realm}", "1");
            exit;
        }}
        if (!save("location")) sl_reply_error();
        xlog("L_ERR", "@saved $fU expires=$hdr(Expires) algorithm=$aa\\n");
        exit;
    }}
    record_route();
    if (is_method("INVITE") && $rU == "{proved}") {{
        if (!pv_proxy_authenticate("{realm}", "{secret}", "0")) {{
            proxy_challenge("{realm}", "1");
            exit;
        }}
        consume_credentials();
        $rU = "{user}";
    }}
    if (is_method("INVITE") && $rU == "{user}") {{
        if (!lookup("location")) {{ sl_send_reply("480", "Not registered"); exit; }}
    }}
    t_relay();
}}
"""


class Kamailio:
    """The real program while open; what it logs."""

    def __init__(self, folder: Path, *, expires_s: int = 3, algorithm: str = "SHA-256") -> None:
        self.port = find_free_port()
        self._folder = folder / f"kamailio-{self.port}"
        self._folder.mkdir()
        self._lines: list[str] = []
        modules = "/usr/lib/x86_64-linux-gnu/kamailio/modules"
        config = CONFIG.format(
            port=self.port,
            modules=modules,
            realm=REALM,
            secret=SECRET,
            user=USER,
            proved=PROVED,
            expires_s=expires_s,
            algorithm=algorithm,
        )
        (self._folder / "kamailio.cfg").write_text(config)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        program = shutil.which("kamailio") or "/usr/sbin/kamailio"
        assert Path(program).exists(), "kamailio is missing; `make setup` installs it"
        command = [program, "-f", str(self._folder / "kamailio.cfg"), "-DD", "-E", "-m", "32", "-M", "4"]
        command += ["-Y", str(self._folder), "-P", str(self._folder / "pid"), "-w", str(self._folder)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Stop it at once, as a machine that fails does. Harmless twice."""
        stop(self._process, 5)
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def saved(self) -> list[str]:
        """Its notes of bindings that it has taken or dropped."""
        return [line for line in self._lines if "@saved" in line]

    def log(self) -> str:
        """Everything it has said, for a test's message."""
        return "\n".join(self._lines[-40:])

    def wait_saved(self, count: int, timeout_s: float = 15.0) -> list[str]:
        """At least so many notes of bindings."""
        deadline = time.monotonic() + timeout_s
        while len(self.saved()) < count:
            assert time.monotonic() < deadline, f"{len(self.saved())} of {count} bindings: {self.log()}"
            time.sleep(0.02)
        return self.saved()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.append(re.sub(r"^.*?<script>: ", "", line.rstrip()))
