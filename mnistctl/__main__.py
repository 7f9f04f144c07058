"""The way in: signals are met before anything that takes time is imported."""

# _signal is what signal wraps, which takes milliseconds to import: and until a handler is set, the
# first process of a container is deaf to SIGTERM.
import _signal  # type: ignore[import-not-found]
import os


def main() -> None:
    """Run the command line.

    A signal ends it at once, with the status that shells expect. A command with something to clean
    up sees to that itself.
    """
    for number in (_signal.SIGINT, _signal.SIGTERM):
        _signal.signal(number, lambda number, _frame: os._exit(128 + number))

    from mnistctl import cli

    cli.main()


if __name__ == "__main__":
    main()
