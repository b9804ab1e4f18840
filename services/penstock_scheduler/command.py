"""How is the scheduler started from the command line?"""

from __future__ import annotations

import os
from pathlib import Path

from penstock_runtime.config import command_for
from penstock_scheduler.config import Config

MACHINE_CODE = "machine-code"


def run(config: Config) -> int:
    """Runs until stopped; the heavy imports happen here. Where this package cannot be written to,
    its machine code is kept with the service's files."""
    if not os.access(Path(__file__).parent, os.W_OK):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(config.data_dir / MACHINE_CODE))
    from penstock_scheduler.service import serve

    return serve(config)


command = command_for(
    Config, name="scheduler", help="Decide which job runs where; the only writer of JOBS.", run=run
)
