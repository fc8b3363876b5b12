"""What all tests have in common."""

import os

from tests.alone import pytest_runtest_protocol as pytest_runtest_protocol
from tests.lanes import pytest_xdist_make_scheduler as pytest_xdist_make_scheduler

# Workers that tests start do not compile: that takes minutes of CPU time. Their children inherit this.
os.environ["OFFHOOK_WORKER__COMPILE"] = "no"
