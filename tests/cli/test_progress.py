"""The progress bar: on a terminal, for what takes longer than a second, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

SCRIPT = """
import sys, time
from resport.cli import output
output.PROGRESS_DELAY_SECONDS = float(sys.argv[1])
with output.progress_bar("converting") as progress:
    if progress is None:
        print("none")
    else:
        for done in (0, 25_000_000, 50_000_000, 100_000_000):
            progress(done, 100_000_000)
            time.sleep(0.15)
print("rich" in sys.modules)
"""


def on_terminal(command: list[str]) -> tuple[str, str]:
    """What a command prints, and what it writes to a terminal as its standard error."""
    here, there = pty.openpty()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=there, env={**os.environ, "COLUMNS": "100"})
    os.close(there)
    written = b""
    while True:
        try:
            piece = os.read(here, 65536)
        except OSError:  # how Linux says that nobody has the other end any more
            break
        if not piece:
            break
        written += piece
    os.close(here)
    printed, _ = process.communicate()
    assert process.returncode == 0, written
    return printed.decode(), written.decode()


def test_bytes_rate_and_time_on_a_terminal() -> None:
    printed, written = on_terminal([sys.executable, "-c", SCRIPT, "0"])
    assert printed == "True\n"
    assert "converting" in written
    assert "50.0/100.0 MB" in written
    assert "MB/s" in written
    assert "0:00:0" in written


def test_no_bar_for_what_is_quick() -> None:
    assert on_terminal([sys.executable, "-c", SCRIPT, "60"]) == ("False\n", "")


def test_no_bar_in_a_pipe() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, "0"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("none\nFalse\n", "")
