"""``python -m mnistctl`` is ``mnistctl``."""

from mnistctl.cli import main

main()
