"""`python -m devtasks`."""

from devtasks.command.cli import main

main()
