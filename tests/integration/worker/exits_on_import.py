"""A plug-in that cannot be imported: it would end whoever tries."""

import sys

sys.exit(6)
