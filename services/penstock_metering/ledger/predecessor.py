"""What if the writer before us is frozen with the database's lock in its hand?

SQLite's lock belongs to a process until it ends: one that was stopped within a transaction would
hold up its successor for ever. Whoever leads may end such a process when it provably runs on this
host; it is superseded, and every service may be killed at any line. It does not know who leads.
"""

from __future__ import annotations

import logging
import os
import signal

from penstock_metering.ledger.fence import Writer
from penstock_runtime.leadership import start_of_process

log = logging.getLogger(__name__)


def end_predecessor(last: Writer, us: Writer) -> bool:
    """Whether the process that wrote last was found on this host, and killed."""
    if not last.host or last.host != us.host or last.pid == us.pid:
        return False
    try:
        descriptor = os.pidfd_open(last.pid)
    except ProcessLookupError:
        return False
    try:
        if start_of_process(last.pid) != last.pid_start:
            return False  # another process has its number
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    log.error("ended %s (pid %d), which held the ledger's lock", last.name, last.pid)
    return True
