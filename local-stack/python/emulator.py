"""Runs MiniStack, the local AWS emulator, for `millrace`.

MiniStack starts the functions as plain children in its own process group. So that none of them is
left when the one who started us is killed, we watch our standard input, a pipe that only our parent
holds: when it closes, the whole group ends at once. All state is in memory, nothing is lost by it.

The first argument names this instance. It does nothing here: it stands on the command line so that
`millrace down` can tell this process from another one that was given its process id later.
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
        pass  # none is left


if "--watch" in sys.argv[2:]:
    threading.Thread(target=end_with_parent, daemon=True).start()

# MiniStack reads the command line as well.
sys.argv[1:] = []

from ministack.app import main  # noqa: E402

try:
    main()
finally:
    end_children()
