"""What all tests share: how hypothesis runs, also where the checkout cannot be written to."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("ovlay", database=None, deadline=None, print_blob=True)
settings.load_profile("ovlay")
