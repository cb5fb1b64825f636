"""`python -m devtasks`."""

from devtasks.cli import main

main()
