"""The server's own process: `python -m devtasks.dashboard ROOT [key=value ...]`. `inv dashboard` becomes it.

It imports neither Invoke nor the tasks: what is imported stays in memory for as long as the page is open.
"""

from __future__ import annotations

import sys

from devtasks.dashboard.process import main

sys.exit(main(sys.argv[1:]))
