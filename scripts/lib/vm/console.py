# SPDX-License-Identifier: GPL-2.0
"""Reads what a guest says: kernel messages, the script's output, QEMU's own complaints."""

import re
import threading
import time

# Each of these in a kernel message fails the run.
SPLATS = re.compile("|".join([
    r"Kernel panic", r"\bOops\b", r"\bBUG:", r"\bKASAN:", r"\bUBSAN:", r"kernel BUG at",
    r"general protection fault", r"Unable to handle kernel", r"rust_kernel: panicked",
    r"WARNING: possible circular", r"WARNING: .*CPU[:#]", r"\bWARNING: ",
    r"inconsistent lock state", r"possible recursive locking", r"suspicious RCU usage",
    r"INFO: task .* blocked", r"INFO: .*detected (expedited )?stall", r"self-detected stall",
    r"soft lockup", r"hard LOCKUP", r"DMA-API: (?!preallocated|debugging enabled|debugging disabled)",
    r"kmemleak: .* new suspected", r"ODEBUG:", r"refcount_t:", r"list_(add|del) corruption",
    r"Bad page state", r"slab-(use-after-free|out-of-bounds)", r"swiotlb buffer is full",
    r"iommu_debug_checks|page_ref_count mismatch", r"irq \d+: nobody cared",
    r"Attempted to kill init", r"not syncing",
]))
# What guest-init.sh says to us.
MARK = re.compile(r"@@vm-(ready|exit (\d+))@@")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1bc|[\x00-\x08\x0b-\x1f]")

# How many lines a shown splat has at most, and those after which one begins anew.
SPLAT_LINES = 40
SPLAT_END = re.compile(r"---\[ end |<\/TASK>")


class Console:
    """Collects lines of three sources ("kernel", "script", "qemu") in the order of arrival."""

    def __init__(self, log, on_line=None, allow=()):
        self._log = log
        self._on_line = on_line
        self._allow = [re.compile(a) for a in allow]
        self._news = threading.Condition()
        self._part = {}
        self._start = time.monotonic()
        self.lines = []
        self.status = None
        self.ready = False

    def forget(self):
        """Starts anew, for another attempt."""
        with self._news:
            self.lines, self._part, self.status, self.ready = [], {}, None, False

    def feed(self, source, data):
        """Takes bytes as they come."""
        text = self._part.get(source, "") + data.decode("utf-8", "replace")
        *whole, self._part[source] = text.split("\n")
        for line in whole:
            self._line(source, line)

    def close(self, source):
        """Takes what is left when a source ends."""
        rest = self._part.pop(source, "")
        if rest.strip():
            self._line(source, rest)

    def _line(self, source, line):
        line = CONTROL.sub("", line)
        with self._news:
            mark = {"script": "> ", "qemu": "qemu: "}.get(source, "")
            self._log.write(f"{time.monotonic() - self._start:8.3f} {mark}{line}\n")
            self._log.flush()
            if source == "script" and (found := MARK.search(line)):
                if found[1] == "ready":
                    self.ready = True
                else:
                    self.status = int(found[2])
                # A marker counts for nothing else; text without a line's end may stand before it.
                line = line[:found.start()] or None
            if line is not None:
                self.lines.append((source, line))
            self._news.notify_all()
        if self._on_line and line is not None:
            self._on_line(source, line)

    def of(self, source):
        """The lines of one source."""
        with self._news:
            return [line for s, line in self.lines if s == source]

    def wait(self, condition, timeout):
        """Waits until condition() is true or `timeout` seconds are over; gives its last value."""
        end = time.monotonic() + timeout
        with self._news:
            while not (value := condition()):
                left = end - time.monotonic()
                if left <= 0:
                    return value
                self._news.wait(min(left, 0.5))
            return value

    def wake(self):
        """Lets wait() look again, for instance because the machine ended."""
        with self._news:
            self._news.notify_all()

    def find(self, pattern, start=0):
        """The index of the first line from `start` on that matches, and the match; or None."""
        for i in range(start, len(self.lines)):
            found = re.search(pattern, self.lines[i][1])
            if found:
                return i, found
        return None

    def splats(self):
        """Each complaint of the kernel as a text of at most SPLAT_LINES lines."""
        out, lines, i = [], self.of("kernel"), 0
        while i < len(lines):
            if SPLATS.search(lines[i]) and not any(a.search(lines[i]) for a in self._allow):
                begin = i - 1 if i and set(lines[i - 1]) == {"="} else i
                end = min(i + 1, len(lines))
                while end < len(lines) and end - begin < SPLAT_LINES and not SPLAT_END.search(lines[end - 1]):
                    end += 1
                out.append("\n".join(lines[begin:end]))
                i = end
            else:
                i += 1
        return out
