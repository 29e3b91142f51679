# SPDX-License-Identifier: GPL-2.0
"""A client of QEMU's machine protocol, for hot-plug and inspection from the host."""

import json
import socket
import time


class QmpError(Exception):
    """QEMU refused a command, or is gone."""


class Qmp:
    """One connection; events that arrive meanwhile are kept in `events`."""

    def __init__(self, path, timeout=30):
        self.events = []
        self._buffer = b""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        end = time.monotonic() + timeout
        while True:
            try:
                self._socket.connect(path)
                break
            except OSError as e:
                if time.monotonic() > end:
                    raise QmpError(f"no QMP at {path}: {e}") from e
                time.sleep(0.05)
        self._message()
        self("qmp_capabilities")

    def _message(self):
        while b"\n" not in self._buffer:
            try:
                data = self._socket.recv(65536)
            except OSError as e:
                raise QmpError(f"no answer: {e}") from e
            if not data:
                raise QmpError("QEMU ended")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def __call__(self, command, **arguments):
        """Runs a command and returns its result; names with dashes go in as **{"a-b": 1}."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            message = self._message()
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise QmpError(f"{command}: {message['error']['desc']}")
            elif "return" in message:
                return message["return"]

    def hmp(self, line):
        """Runs a command of the human monitor and returns its text."""
        return self("human-monitor-command", **{"command-line": line})

    def wait_event(self, name, timeout=30, **data):
        """Waits for an event with such data (an earlier one of the list counts) and returns it."""
        end = time.monotonic() + timeout
        while True:
            for i, event in enumerate(self.events):
                if event["event"] == name and data.items() <= event.get("data", {}).items():
                    return self.events.pop(i)
            left = end - time.monotonic()
            if left <= 0:
                raise QmpError(f"no event {name} in {timeout} s")
            old = self._socket.gettimeout()
            self._socket.settimeout(left)
            try:
                message = self._message()
            finally:
                self._socket.settimeout(old)
            if "event" in message:
                self.events.append(message)

    def close(self):
        """Closes the connection."""
        self._socket.close()
