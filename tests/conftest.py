"""What all tests have in common."""

import os

# Workers that tests start do not compile: that takes minutes of CPU time. Their children inherit this.
os.environ["OFFHOOK_WORKER__COMPILE"] = "no"
