"""`offhook bench signalling`: how many calls a second a gateway can begin and end, with SIPp as the caller.

A second generator beside `offhook load`, and none of our own: SIPp places calls at a steady rate, waits, and
hangs up. It sends no sound, so what is measured is signalling, slots and the making of calls.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agent.bench_gateway import HOST, GatewayProcess, free_port
from agent.errors import AgentError
from agent.load import Loading
from agent.load_cost import Cost, Meter
from agent.load_verdict import spread_ms
from agent.machine import this_machine

SPARE_SLOTS = 1.5  # calls that are being ended hold theirs, too
END_S = 30.0  # for the last calls

console = Console()

_HEAD = """From: load <sip:load@[local_ip]:[local_port]>;tag=[pid]t[call_number]
      Call-ID: [call_id]
      Contact: <sip:load@[local_ip]:[local_port]>
      Max-Forwards: 70
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]"""
SCENARIO = f"""<?xml version="1.0"?>
<scenario name="call">
  <send retrans="500" start_rtd="setup"><![CDATA[
      INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
      {_HEAD}
      To: <sip:[service]@[remote_ip]:[remote_port]>
      CSeq: 1 INVITE
      Content-Type: application/sdp
      Content-Length: [len]

      v=0
      o=load 1 1 IN IP4 [media_ip]
      s=-
      c=IN IP4 [media_ip]
      t=0 0
      m=audio [media_port] RTP/AVP 0
      a=rtpmap:0 PCMU/8000
  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="200" rrs="true" rtd="setup"/>
  <send><![CDATA[
      ACK [next_url] SIP/2.0
      {_HEAD}
      To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
      CSeq: 1 ACK
      Content-Length: 0
  ]]></send>
  <pause/>
  <send retrans="500"><![CDATA[
      BYE [next_url] SIP/2.0
      {_HEAD}
      To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
      CSeq: 2 BYE
      Content-Length: 0
  ]]></send>
  <recv response="200"/>
</scenario>
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """What became of calls at one rate."""

    calls_per_s: float
    num_calls: int
    num_good: int
    num_failed: int
    num_retransmissions: int
    setup_ms: dict[str, float]
    cost: Cost

    @property
    def is_within(self) -> bool:
        """Every call was answered and ended as it should be."""
        return self.num_good == self.num_calls and not self.num_failed


def sipp_program() -> str:
    """Where SIPp is. Raises AgentError with the remedy if it is nowhere."""
    program = shutil.which("sipp")
    if program is None:
        raise AgentError(
            "this bench calls with SIPp, which is not installed; install it (Debian: sip-tester)"
        )
    return program


def place(gateway: GatewayProcess, calls_per_s: float, seconds: float, hold_s: float) -> Rate:
    """Calls at this rate for so long. Raises AgentError if SIPp does not come to an end."""
    num_calls = max(1, round(calls_per_s * seconds))
    with tempfile.TemporaryDirectory(prefix="offhook-bench-") as name:
        folder = Path(name)
        (folder / "call.xml").write_text(SCENARIO)
        ports = f"-i {HOST} -p {free_port()} -mi {HOST} -mp {free_port() & ~1}"
        words = f"{HOST}:{gateway.sip_port} -sf call.xml -s order {ports} "
        words += f"-t u1 -r {calls_per_s:g} -m {num_calls} -l {num_calls} -d {round(1e3 * hold_s)} -nostdin "
        words += "-trace_stat -stf stat.csv -fd 1 -trace_rtt -rtt_freq 1 -trace_err -error_file errors.log"
        before = Meter.read(gateway)
        try:
            subprocess.run(
                [sipp_program(), *words.split()],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=seconds + hold_s + END_S,
                check=False,  # 1: some calls failed, which is counted below
            )
        except subprocess.TimeoutExpired:
            raise AgentError(f"SIPp has not ended its calls:\n{_last_errors(folder)}") from None
        cost = Cost.between(before, Meter.read(gateway))
        return _read(folder, calls_per_s, num_calls, cost)


def _rows(path: Path) -> list[dict[str, str]]:
    """A statistics file of SIPp's; none if it wrote none."""
    if not path.is_file():
        return []
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines, delimiter=";"))


def _read(folder: Path, calls_per_s: float, num_calls: int, cost: Cost) -> Rate:
    rows = _rows(folder / "stat.csv")
    if not rows:
        raise AgentError(f"SIPp placed no call:\n{_last_errors(folder)}")
    told = [row for path in folder.glob("*_rtt.csv") for row in _rows(path)]
    setups_s = [float(row["response_time_ms"]) / 1e3 for row in told]
    return Rate(
        calls_per_s,
        num_calls,
        int(rows[-1]["SuccessfulCall(C)"]),
        int(rows[-1]["FailedCall(C)"]),
        int(rows[-1]["Retransmissions(C)"]),
        spread_ms(setups_s),
        cost,
    )


def _last_errors(folder: Path) -> str:
    path = folder / "errors.log"
    return path.read_text(errors="replace")[-1000:] if path.is_file() else "it wrote no error"


def rates_table(rates: Sequence[Rate]) -> Table:
    """One row a rate."""
    table = Table(title="signalling, by SIPp", title_justify="left")
    for name in (
        "calls/s",
        "calls",
        "good",
        "failed",
        "sent again",
        "set-up p50",
        "p99",
        "max ms",
        "gateway %",
    ):
        table.add_column(name, justify="right")
    for one in rates:
        table.add_row(
            f"{one.calls_per_s:g}",
            str(one.num_calls),
            str(one.num_good),
            str(one.num_failed),
            str(one.num_retransmissions),
            *(f"{one.setup_ms[name]:.0f}" for name in ("p50", "p99", "max")),
            f"{one.cost.gateway:.0f}",
        )
    return table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bench's own arguments."""
    parser.add_argument("--rates", default="10,20,50", help="calls per second, with commas (10,20,50)")
    parser.add_argument("--seconds", type=float, default=20.0, help="at each rate (default 20)")
    parser.add_argument("--hold", type=float, default=1.0, help="length of a call in seconds (default 1)")
    parser.add_argument("--json", type=Path, help="also write the figures here")


def run(args: argparse.Namespace, settings: object) -> int:
    """Call at each rate, print; 1 if a call failed."""
    try:
        wanted = [float(part) for part in args.rates.split(",")]
    except ValueError:
        wanted = []
    if not wanted or min(wanted) <= 0 or args.seconds <= 0 or args.hold < 0:
        raise AgentError(f"--rates {args.rates}: write numbers above 0 with commas, e.g. 10,20,50")
    sipp_program()  # before a gateway is started for nothing
    machine = this_machine()
    most = round(SPARE_SLOTS * max(wanted) * (args.hold + 1)) + 8
    with Loading(args.seconds, max(wanted)).gateway(most) as gateway:
        rates = [place(gateway, rate, args.seconds, args.hold) for rate in wanted]
        gateway.wait_until_idle()
    console.print(rates_table(rates))
    console.print(str(machine), highlight=False)
    if args.json:
        told = {"machine": asdict(machine), "rates": [asdict(rate) for rate in rates]}
        args.json.write_text(json.dumps(told, indent=2) + "\n")
    return 0 if all(rate.is_within for rate in rates) else 1
