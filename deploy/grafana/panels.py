"""One picture of the dashboard, and the JSON that Grafana has for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SOURCE = {"type": "prometheus", "uid": "offhook-prometheus"}
GREEN, YELLOW, RED = "green", "yellow", "red"
Steps = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Panel:
    """One picture: `queries` are (PromQL, legend); `steps` colour a number, `lines` cross a graph."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    about: str
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    steps: Steps = ()
    lines: tuple[float, ...] = ()
    top: float | None = None
    is_whole: bool = False


def number(title: str, unit: str, query: str, about: str, **more: Any) -> Panel:
    """A single figure."""
    return Panel(title, unit, ((query, title.lower()),), about, "stat", 3, 4, **more)


def rendered(panel: Panel) -> dict[str, Any]:
    """The panel as Grafana's JSON model has it, without its place."""
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for index, (query, legend) in enumerate(panel.queries)
    ]
    if panel.kind == "heatmap":
        targets = [{**target, "format": "heatmap"} for target in targets]
    return {
        "title": panel.title,
        "description": panel.about,
        "type": panel.kind,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "targets": targets,
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": GREEN, "value": None}]
    steps += [{"color": colour, "value": value} for colour, value in panel.steps]
    steps += [
        {"color": colour, "value": value} for colour, value in zip((YELLOW, RED), panel.lines, strict=False)
    ]
    custom: dict[str, Any] = {}
    if panel.kind == "timeseries":
        custom = {"fillOpacity": 8, "lineWidth": 1, "spanNulls": False}
        if panel.lines:
            custom["thresholdsStyle"] = {"mode": "line"}
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "custom": custom}
    if panel.top is not None:
        defaults["max"] = panel.top
    if panel.is_whole:
        defaults["decimals"] = 0
    return {**defaults, "thresholds": {"mode": "absolute", "steps": steps}}


def _options(panel: Panel) -> dict[str, Any]:
    """What Grafana's schema asks of each kind, written out: a default of the server's may change with it."""
    if panel.kind == "stat":
        return {
            "reduceOptions": {"calcs": ["lastNotNull"]},
            "colorMode": "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "textMode": "value",
            "orientation": "auto",
            "wideLayout": True,
            "showPercentChange": False,
            "percentChangeColorMode": "standard",
        }
    if panel.kind == "heatmap":
        return {
            "calculate": False,
            "yAxis": {"unit": panel.unit},
            "color": {
                "mode": "scheme",
                "scheme": "Oranges",
                "steps": 64,
                "exponent": 0.5,
                "fill": "dark-orange",
                "reverse": False,
            },
            "cellGap": 1,
            "legend": {"show": True},
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "showValue": "never",
            "tooltip": {"mode": "single", "yHistogram": True},
        }
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
