"""`helm template` by Helm's own library, in a process of its own: a Go runtime does not belong in ours.

    python -m tests.deploy.helm_template < values.json

Reads a list of values, prints a list of {"manifests": {template: text}} or {"refused": why}, and, at its end,
what `helm lint --strict` says of the last.
"""

import json
import sys
from pathlib import Path
from typing import Any

import helm_python

CHART = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "offhook"


def rendered(chart: helm_python.Chart, values: dict[str, Any]) -> dict[str, Any]:
    """What Kubernetes would be given for these values."""
    try:
        chart.validate_schema(values)
        return {"manifests": chart.render(values, name="line", namespace="voice")}
    except helm_python.HelmError as error:
        return {"refused": str(error)}


def main() -> None:
    """Render everything that is asked for."""
    asked = json.load(sys.stdin)
    with helm_python.Chart.load(CHART) as chart:
        answers = [rendered(chart, values) for values in asked]
    report = helm_python.lint(CHART, asked[-1], strict=True)
    json.dump([*answers, report], sys.stdout)


if __name__ == "__main__":
    main()
