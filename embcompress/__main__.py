"""Run the command line: `python -m embcompress`."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

EXIT_INTERRUPTED = 130  # as embcompress.cli.process exits on the same signal


def main() -> NoReturn:
    """Run the command line; Ctrl-C while it is still being imported, before it has its handlers, ends quietly too."""
    try:
        from embcompress.cli.main import main as run

        run()
    except KeyboardInterrupt:
        os._exit(EXIT_INTERRUPTED)
    except SystemExit as err:
        if "torch" not in sys.modules or not isinstance(err.code, int):
            raise
        # All files are in place and closed; taking torch apart again would take 0.2 s.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(err.code)


if __name__ == "__main__":
    main()
