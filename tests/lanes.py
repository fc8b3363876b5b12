"""Which tests `pytest -n` keeps together: each file, and all that drive Chromium. A plugin of pytest.

A module's fixtures (a gateway, a trained model) are so made once, and one browser serves every test of the
console. Files are balanced freely between the workers, the largest first: lanes by what tests do ("calls"
beside "computes") would leave one idle while the other has half its work to go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling
    from xdist.workermanage import WorkerController

# Few tests, and minutes: taken last, as the small files are, it would leave the others idle at the end.
FIRST = "tests/model/test_compiled.py"
TOGETHER = ("tests/console/",)  # folders whose fixtures are the whole package's


def lane_of(node_id: str) -> str:
    """What shares a worker with this test has the same word."""
    path = node_id.partition("::")[0]
    return next((folder for folder in TOGETHER if path.startswith(folder)), path)


@pytest.hookimpl(optionalhook=True)  # without xdist there is no such hook
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Balance whole lanes. The mark `xdist_group` does nothing: pytest 9.2 ignores xdist 3.8's use of it."""
    from xdist.scheduler import LoadScopeScheduling

    class ByLane(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return lane_of(nodeid)

        def _assign_work_unit(self, node: WorkerController) -> None:
            if FIRST in self.workqueue:
                self.workqueue.move_to_end(FIRST, last=False)
            super()._assign_work_unit(node)

    return ByLane(config, log)
