"""What the daemon says when it cannot go on, with the exit code the command ends with.

RlaifdError            1  it failed: the message names the place and the fix
├── SourceStoppedError    one source waits for a person; everything else goes on
├── UsageError         2  the command or the configuration is wrong
│   └── ConfigError
└── RefusedError       3  a gate or a halt said no
    ├── HaltedError
    └── AdapterRefusedError
"""

from connectors.errors import FatalError


class RlaifdError(Exception):
    """It failed. The message is one line for a person: what, where, and what to do."""

    exit_code = 1


class UsageError(RlaifdError):
    """The command line is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """The configuration is wrong. The message names file, key and fix."""


class SourceStoppedError(RlaifdError):
    """A source is not read on until a person has decided about what came. The message names the ways out."""


class RefusedError(RlaifdError):
    """A gate or a halt said no. Nothing was changed."""

    exit_code = 3


class HaltedError(RefusedError):
    """The scope is halted; `rlaifd resume SCOPE` clears it."""


class AdapterRefusedError(RefusedError):
    """The adapter is unknown, does not verify, or was not passed by the gate."""


def line_of(error: Exception) -> str:
    """One line for logs and pages. Of a database error only the driver's words: its full text holds rows."""
    from sqlalchemy.exc import DBAPIError  # help imports this module, and knows no database

    if isinstance(error, DBAPIError):
        text = str(error.orig)
        return f"{type(error.orig).__name__}: {text.splitlines()[0] if text else ''}"[:300]
    text = " ".join(str(error).split())
    if isinstance(error, RlaifdError | FatalError):
        return text[:300]
    return f"{type(error).__name__}: {text}"[:300]
