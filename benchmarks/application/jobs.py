"""What every Python contestant runs: wait, and note in a file when the job began and ended.

The file is the only register that is equal for all of them: an append of some forty bytes, which no lock of the
interpreter, no fork and no kill can lose, and which costs microseconds where a command to Redis would cost a round
trip. It imports nothing heavy, because a forked worker may import it for each job.
"""

from __future__ import annotations

import os
import time

LOG = "BENCH_LOG"
FUNCTION = "benchmarks.application.jobs.work"

_file: int | None = None


def work(job_id: str, milliseconds: int) -> None:
    _note("S", job_id)
    if milliseconds:
        time.sleep(milliseconds / 1000)
    _note("E", job_id)


def _note(event: str, job_id: str) -> None:
    global _file
    if _file is None:
        _file = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(_file, f"{event} {job_id} {time.time():.6f} {os.getpid()}\n".encode())
