"""systemd's notification protocol: datagrams to the socket in NOTIFY_SOCKET (sd_notify(3))."""

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Tells systemd READY=1, WATCHDOG=1 and so on; without NOTIFY_SOCKET it says nothing."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        usec = environment.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(usec) / 1e6 if usec.isdigit() else None

    def tell(self, message: str) -> bool:
        """Sends one message; False when nobody listens. Never raises for a socket that is gone."""
        if not self._address:
            return False
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.sendto(message.encode(), address)
        except OSError:
            return False
        return True
