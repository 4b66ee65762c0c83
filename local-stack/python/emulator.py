"""Runs MiniStack, the local AWS emulator, for `millrace`. `catalogue.py` replaces a part of it.

MiniStack starts the functions as child processes in its own process group. With `--watch`, this
script reads its standard input, a pipe whose other end only the parent process has open. The pipe
closes when the parent ends or is killed. Then the script kills the whole group, so that no function
keeps running. No data is lost, because all state is in memory.

The first argument is the id of this instance. The script doesn't use it. `millrace down` searches the
command line for it, to distinguish this process from a later one with the same process id.
"""

import os
import signal
import sys
import threading


def end_with_parent():
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def end_children():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(os.getpgrp(), signal.SIGTERM)
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass  # all children have ended


if "--watch" in sys.argv[2:]:
    threading.Thread(target=end_with_parent, daemon=True).start()

# MiniStack also parses sys.argv, so remove the arguments of this script.
sys.argv[1:] = []

import catalogue  # noqa: E402
from ministack.app import main  # noqa: E402

catalogue.install()

try:
    main()
finally:
    end_children()
