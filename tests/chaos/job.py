"""What does a job of the chaos test do?

Says on a socket that it runs, and where and under which lease, keeps the socket open so that its
death is seen whatever the cause, writes one line to each of its outputs, says how much of them its
host took, waits, and ends with the code that it was told. Standard library only: each job starts an
interpreter.

usage: job.py SOCKET PAUSE_S CODE
"""

import json
import os
import signal
import socket
import sys
import time

STOPPED_CODE = 143


class Stopped(BaseException):
    """SIGTERM has come."""


def main() -> int:
    where, pause_s, code = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    signal.signal(signal.SIGTERM, stop)
    env = os.environ
    said = {
        "began": began,
        "pid": os.getpid(),
        "job": env["PENSTOCK_JOB_ID"],
        "tenant": env["PENSTOCK_TENANT"],
        "attempt": int(env["PENSTOCK_ATTEMPT"]),
        "rank": int(env["RANK"]),
        "node": env["PENSTOCK_NODE"],
        "lease": env["PENSTOCK_LEASE"],
        "devices": env["CUDA_VISIBLE_DEVICES"],
    }
    witness = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    witness.connect(where)
    witness.sendall(json.dumps(said).encode() + b"\n")
    wrote = {
        "stdout": write(1, f"out {env['PENSTOCK_LEASE']}\n"),
        "stderr": write(2, f"err {env['PENSTOCK_LEASE']}\n"),
    }
    witness.sendall(json.dumps({"wrote": wrote}).encode() + b"\n")
    try:
        time.sleep(pause_s)
    except Stopped:
        code = STOPPED_CODE
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ended = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    end = {"ended": ended, "code": code}
    witness.sendall(json.dumps(end).encode() + b"\n")
    return code


def write(descriptor: int, text: str) -> int:
    """How many bytes its host took: its disk may be full."""
    try:
        return os.write(descriptor, text.encode())
    except OSError:
        return 0


def stop(*_: object) -> None:
    raise Stopped


sys.exit(main())
