"""The operator's dashboard, written as rows of panels; prints the JSON that Grafana is provisioned with.

    python deploy/grafana/dashboard.py > deploy/grafana/offhook.json

By hand the JSON is a thousand lines in which a unit or a threshold is easily forgotten. Needs no packages.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from panels import SOURCE, rendered
from rows_calls import CONVERSATION, DOOR, NOW, TRAFFIC, TRUNKS
from rows_machines import MACHINE, MEDIA, WEEKS, WORKERS

WINDOWS = ("1m", "5m", "15m", "1h")
WIDTH = 24
ROWS = (
    ("Now", NOW),
    ("Traffic", TRAFFIC),
    ("Trunks and transfers", TRUNKS),
    ("Door", DOOR),
    ("Conversation", CONVERSATION),
    ("Media", MEDIA),
    ("Workers", WORKERS),
    ("Gateway", MACHINE),
    ("Weeks", WEEKS),
)


def dashboard() -> dict[str, Any]:
    """The whole dashboard as Grafana's JSON model has it."""
    return {
        "uid": "offhook",
        "title": "Offhook",
        "tags": ["offhook"],
        "editable": False,
        "schemaVersion": 39,
        "version": 1,
        "refresh": "5s",
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_window(), _instance()]},
        "panels": list(_placed()),
    }


def _placed() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append(
            {
                "id": len(panels) + 1,
                "title": title,
                "type": "row",
                "collapsed": False,
                "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
                "panels": [],
            }
        )
        y, x, height = y + 1, 0, 0
        for panel in row:
            if x + panel.width > WIDTH:
                x, y = 0, y + height
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            panels.append({"id": len(panels) + 1, **rendered(panel), "gridPos": place})
            x, height = x + panel.width, panel.height
        y += height
    return panels


def _window() -> dict[str, Any]:
    options = [{"text": text, "value": text, "selected": text == WINDOWS[1]} for text in WINDOWS]
    return {
        "name": "window",
        "label": "Window",
        "type": "custom",
        "query": ",".join(WINDOWS),
        "current": {"text": WINDOWS[1], "value": WINDOWS[1]},
        "options": options,
    }


def _instance() -> dict[str, Any]:
    return {
        "name": "instance",
        "label": "Gateway",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": 'label_values(up{job="offhook"}, instance)', "refId": "instance"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


if __name__ == "__main__":
    json.dump(dashboard(), sys.stdout, indent=1)
    sys.stdout.write("\n")
