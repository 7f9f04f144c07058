"""The way in: signals are met before anything that takes time is imported."""

import os
import signal


def main() -> None:
    """Run the command line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: os._exit(128 + number))

    from mnistctl import cli

    cli.main()


if __name__ == "__main__":
    main()
