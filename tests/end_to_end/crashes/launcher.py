"""Starts `thingjobs` from a process that has its modules already: a line with its arguments gives the process
id, an empty line waits for its end and gives its wait status. At the end of the lines it kills what is left.
"""

import os
import shlex
import signal
import sys

import thingjobs_broker.server  # noqa: F401 - so that it need not be imported at each start
from thingjobs_broker.cli.main import run


def say(number: int) -> None:
    """Answer a line."""
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve lines until there are no more."""
    running = 0
    for line in sys.stdin:
        if line.strip():
            running = os.fork()
            if not running:
                os.dup2(2, 1)
                os.close(0)
                sys.argv = ["thingjobs", *shlex.split(line)]
                run()
            say(running)
        else:
            say(os.waitpid(running, 0)[1])
            running = 0
    if running:
        os.kill(running, signal.SIGKILL)
        os.waitpid(running, 0)


if __name__ == "__main__":
    main()
