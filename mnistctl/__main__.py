"""Entry point: installs the signal handlers before the slow imports."""

import gc
import os

from mnistctl import signals


def main() -> None:
    """Run the command line and end the process with its exit status."""
    signals.install_handlers()
    # Imports create many objects that stay. Searching them for garbage takes 6 % of a prediction.
    gc.set_threshold(100_000)

    from mnistctl import cli

    # Not sys.exit, which waits for threads: one may be reading a pipe that never ends.
    os._exit(cli.main())


if __name__ == "__main__":
    main()
