"""What the panels ask Prometheus: our metrics of the chosen gateways over the chosen window, as PromQL."""

from __future__ import annotations


def of(metric: str, labels: str = "") -> str:
    """A metric of the chosen gateways."""
    return f'{metric}{{instance=~"$instance"{", " + labels if labels else ""}}}'


def quantile(q: float, metric: str, *by: str) -> str:
    """A quantile of a histogram over the chosen window."""
    labels = ", ".join(("le", *by))
    return f"histogram_quantile({q:g}, sum by ({labels}) (rate({of(metric + '_bucket')}[$window])))"


def risen(metric: str, *by: str, labels: str = "") -> str:
    """How much a counter rose over the chosen window."""
    grouped = f" by ({', '.join(by)}) " if by else ""
    return f"sum{grouped}(increase({of(metric, labels)}[$window]))"


def share(part: str, whole: str) -> str:
    """One sum as a part of another; nothing where the other is 0."""
    return f"{part} / ({whole} > 0)"


def quantiles(metric: str, *asked: float, by: str = "") -> tuple[tuple[str, str], ...]:
    """Quantiles of one histogram as lines of a graph."""
    suffix = f" {{{{{by}}}}}" if by else ""
    return tuple((quantile(q, metric, *([by] if by else [])), f"p{round(100 * q)}{suffix}") for q in asked)
