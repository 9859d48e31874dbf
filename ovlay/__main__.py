"""``python -m ovlay``: the same as the command ``ovlay``."""

import sys

from ovlay.cli.main import main

sys.exit(main())
