# SPDX-License-Identifier: GPL-2.0
"""Connects the terminal to the guest's prompt."""

import os
import select
import sys
import termios
import tty

from .errors import VmError


def interact(machine):
    """Copies keys to the guest and the guest's output to the terminal until the machine ends."""
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    is_tty = os.isatty(keyboard)
    saved = termios.tcgetattr(keyboard) if is_tty else None
    feed = machine.console.feed

    def tee(source, data):
        if source == "script" and machine.console.ready:
            os.write(screen, data)
        feed(source, data)

    machine.console.feed = tee
    ready = machine.console.wait(lambda: machine.console.ready or machine.console.status is not None, machine.config.timeout * machine.config.scale())
    if not ready:
        raise VmError(f"the machine did not come up; log: {machine.log}")
    try:
        if is_tty:
            tty.setraw(keyboard)
        while machine.console.status is None and not machine._ended():
            if select.select([keyboard], [], [], 0.2)[0]:
                data = os.read(keyboard, 4096)
                # The end of a script on standard input is the end of the session.
                machine.send_bytes(data or b"\x04")
                if not data:
                    break
    finally:
        if saved:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, saved)
