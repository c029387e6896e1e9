"""`python -m daemon.demo.orphan_guard COMMAND…`: runs a command and stops it when our own stdin ends.

The command gets SIGTERM, then SIGKILL after a grace. Our exit code is the command's.
"""

import subprocess
import sys
import threading

GRACE_S = 8.0


def main() -> int:
    """Runs until the command or stdin ends."""
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)

    def hold() -> None:
        while sys.stdin.readline():
            pass
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()

    threading.Thread(target=hold, daemon=True).start()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
