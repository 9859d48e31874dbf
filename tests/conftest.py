"""What all tests share: how hypothesis runs, also where the checkout cannot be written to, and what Ctrl-C does."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# In CI the same examples each time, as in Hypothesis' own profile "ci": what is found at random is found by people.
settings.register_profile(
    "ovlay", database=None, deadline=None, print_blob=True, derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("ovlay")

# A shell starts what it puts in the background with SIGINT ignored, and so would be all that the tests start:
# https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_11
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
