"""The command `rlaifd`. It parses first and imports what a command needs after, so that help is instant."""

import gc
import sys
from typing import NoReturn

MOST_YOUNG = 1_000_000
"""Objects made before the first look for garbage."""


def main() -> NoReturn:
    """Runs one command. Exit codes: 0 done, 1 failed, 2 usage, 3 refused by a gate or a halt."""
    if sys.argv[1:2] == ["run"]:  # imports alone take seconds on a busy machine
        from daemon.service.signals import end_at_once

        end_at_once()
    # What is imported stays. To look through it for garbage, as it comes in and once more at the end, is a
    # third of a command that only looks; one that works sets this back (`daemon.cli.context.wired`).
    gc.set_threshold(MOST_YOUNG)
    from connectors.errors import ConnectorError
    from daemon.cli.app import app
    from daemon.errors import RlaifdError

    try:
        app(standalone_mode=True)
    except RlaifdError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except ConnectorError as error:
        _say(str(error))
        sys.exit(1)
    except OSError as error:
        _say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        gc.freeze()
    sys.exit(0)


def _say(message: str) -> None:
    print(f"rlaifd: {' '.join(message.split())}", file=sys.stderr)
