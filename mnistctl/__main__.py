"""Entry point: installs the signal handlers before the slow imports."""

import os

from mnistctl import signals


def main() -> None:
    """Run the command line and end the process with its exit status."""
    signals.install_handlers()

    from mnistctl import cli

    # Not sys.exit, which waits for threads: one may be reading a pipe that never ends.
    os._exit(cli.main())


if __name__ == "__main__":
    main()
