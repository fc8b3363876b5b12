"""Asterisk's files fit together, and each of its endpoints has a trunk of ours that takes it."""

import re
from configparser import RawConfigParser

import pytest

from telephony.trunks import Trunk
from tests.asterisk.configuration import ENVIRON, LINES, Line, Place, files, line_named, trunk_of, uri
from tests.asterisk.scenarios import ALWAYS, LONG

PLACE = Place("/opt/offhook-1", 5580, 5581)


def sections(text: str) -> dict[str, list[dict[str, str]]]:
    """Asterisk's own format: a section's name may come again."""
    found: dict[str, list[dict[str, str]]] = {}
    for part in re.split(r"(?m)^(?=\[)", text)[1:]:
        parser = RawConfigParser(delimiters=("=",))
        parser.read_string(part)
        (name,) = parser.sections()
        found.setdefault(name, []).append(dict(parser[name]))
    return found


def test_every_endpoint_finds_what_it_names() -> None:
    pjsip = sections(files(PLACE)["pjsip.conf"])
    for line in LINES:
        by_type = {one["type"]: one for one in pjsip[line.name]}
        endpoint = by_type["endpoint"]
        assert set(by_type) == {"endpoint", "aor"} and endpoint["aors"] == line.name
        for name, kind in ((endpoint["auth"], "auth"), (endpoint["outbound_auth"], "auth")):
            assert pjsip[name][0]["type"] == kind
        assert endpoint.get("transport", "udp") in pjsip
    assert pjsip["udp"][0]["bind"] == "127.0.0.1:5580" and pjsip["tls"][0]["bind"] == "127.0.0.1:5581"


def test_asterisk_keeps_to_its_home_and_loads_each_module_once() -> None:
    written = files(PLACE)
    folders = sections(written["asterisk.conf"])["directories"][0]
    own = {name for name, path in folders.items() if path.startswith("> /opt/offhook-1/")}
    assert own == {f"ast{name}dir" for name in ("etc", "db", "key", "spool", "run", "log")}
    loaded = re.findall(r"load = (\S+)\.so", written["modules.conf"])
    assert len(loaded) == len(set(loaded)) and {"chan_pjsip", "res_srtp", "app_mixmonitor"} < set(loaded)
    assert "rtpstart = 36000\nrtpend = 36399" in written["rtp.conf"]


def test_every_scenario_calls_what_the_dialplan_has() -> None:
    dialplan = files(PLACE)["extensions.conf"]
    known = set(re.findall(r"exten => ([a-z-]+),1,", dialplan))
    assert known == {"echo", "tone", "desk", "digits", "read", "refer-us", "bridge"}
    assert "r(/opt/offhook-1/heard/desk.wav)" in dialplan and "sip:tone@127.0.0.1:5580" in dialplan
    names = [scenario.name for scenario in (*ALWAYS, LONG)]
    assert len(set(names)) == len(names)
    for scenario in (*ALWAYS, LONG):
        assert line_named(scenario.line) in LINES


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_the_trunk_registers_as_the_endpoint(line: Line) -> None:
    trunk = Trunk.model_validate(trunk_of(line, PLACE), context={"environ": ENVIRON})
    assert trunk.user == line.name and trunk.registration is not None
    port = 5581 if line.is_tls else 5580
    assert trunk.servers == (f"127.0.0.1:{port}",)
    assert uri("echo", line, PLACE).startswith(f"sip:echo@127.0.0.1:{port}")
    assert (trunk.transport == "tls") == line.is_tls
