"""`devtasks`, and `python -m devtasks`."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C counts from here on: importing takes longer than a finger does."""
    try:
        from devtasks.command import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
