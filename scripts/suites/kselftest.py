# SPDX-License-Identifier: GPL-2.0
"""The kselftests the way a user runs them: installed by make, started by run_kselftest.sh, nothing allowed that is not said.

Whatever is run, a disk that nobody named stays as it is, and so does one that was named and has contents.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading

from vm import Machine
from vm.host import in_root, in_root_env, kernel_dir, paths

from .lib import TESTS, TOP, firmware_table
from .required import TABLES, TESTDEVS

# With the module and without any switch these run; all others say why not.
SAFE = {"groups.sh", "info.sh", "resv.sh", "translate.sh"}
# With KSFT_IOMMU_DISRUPTIVE=1 these, too, without a disk and with one.
NO_DISK = {"claimed.sh", "faults.sh", "vfio_dma.sh"}
DISK = {"binding.sh", "flr.sh", "io.sh", "life.sh", "types.sh"}

SIZE = 64 << 20
SWITCHES = {"disruptive": "KSFT_IOMMU_DISRUPTIVE=1", "read": "KSFT_IOMMU_BLOCK=/dev/{}", "write": "KSFT_IOMMU_BLOCK_WRITE=1"}
# What a distribution's /dev has beside devices.
START = "ln -s /proc/self/fd /dev/fd; ln -s fd/0 /dev/stdin; ln -s fd/1 /dev/stdout; ln -s fd/2 /dev/stderr\ncd /kselftest\n"


def run(suite):
    """On this machine, which must not notice; then three boots."""
    if suite.options.driver != "rust":
        suite.skip("all", "the tests are for our driver")
        return
    with tempfile.TemporaryDirectory(prefix="rust-iommu-kselftest.") as tmp:
        files = install(suite)
        scripts = sorted(f for f in os.listdir(f"{files}/iommu") if f.endswith(".sh") and os.access(f"{files}/iommu/{f}", os.X_OK))
        suite.result("kselftest: all scripts are installed", "" if scripts == expected() else f"{sorted(set(scripts) ^ set(expected()))}")
        on_host(suite, f"{files}/iommu", scripts, tmp)
        without_module(suite, files, scripts)
        safe(suite, files, scripts, tmp)
        disks(suite, files, scripts, tmp)


def expected():
    """The tests in the source: what can be executed."""
    return sorted(f for f in os.listdir(TESTS) if f.endswith(".sh") and os.access(f"{TESTS}/{f}", os.X_OK))


INSTALLING = threading.Lock()


def install(suite):
    """make install, once for a kernel; returns the folder."""
    out = os.path.join(TOP, "build/kselftest", suite.options.flavour)
    kernel = kernel_dir(suite.options.flavour)
    with INSTALLING:
        # A copy keeps the mode of what it replaces.
        shutil.rmtree(out, ignore_errors=True)
        # Static, as the machines have no libraries.
        make = ["make", "-C", os.path.join(TOP, "tools/testing/selftests"), f"KSRC={paths()['SRC']}", f"KDIR={kernel}", f"OUT={out}",
                "USERLDFLAGS=-static", "USERCFLAGS=-Werror", f"KSFT_INSTALL_PATH={out}/install", "install"]
        done = subprocess.run(in_root(make), env=in_root_env([kernel]), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode or "warning" in done.stderr:
        raise RuntimeError(f"make install of the kselftests failed: {done.stderr[-800:]}")
    return f"{out}/install"


# A /dev with files for disks, nothing in /sys can be written, and the user is root in a namespace only.
ON_HOST = """
set -e
dev=$1
for f in null zero full random urandom kmsg; do : >"$dev/$f"; mount --bind "/dev/$f" "$dev/$f"; done
ln -s /proc/self/fd "$dev/fd"
mount --rbind /sys /sys
mount -o remount,bind,ro,nosuid,nodev,noexec /sys
mount --bind "$dev" /dev
cd "$2"
shift 2
for t in "$@"; do
    status=0
    "./$t" </dev/null || status=$?
    echo "STATUS $t $status"
done
"""


def on_host(suite, folder, scripts, tmp):
    """Each test as root on this very machine: it ends with 4, and what is called a disk has not changed."""
    dev = f"{tmp}/dev"
    disks_ = ["nvme0n1", "sda", "vda", "mem"]
    for title, env in ("without a switch", {}), ("with all switches", switches("disruptive", "read", "write", disk="nvme0n1")):
        os.makedirs(dev)
        for d in disks_:
            with open(f"{dev}/{d}", "wb") as f:
                f.write(os.urandom(2 << 20))
        before = [checksum(f"{dev}/{d}") for d in disks_]
        done = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", ON_HOST, "sh", dev, folder, *scripts],
                              env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=300)
        after = [checksum(f"{dev}/{d}") for d in disks_]
        ended = dict(re.findall(r"^STATUS (\S+) (\d+)$", done.stdout, re.M))
        wrong = [f"{t}: {ended.get(t, 'not run')}" for t in scripts if ended.get(t) != "4"]
        if os.path.exists("/sys/module/rust_iommu"):
            wrong = [w for w in wrong if w.split(":")[0] not in SAFE]
        suite.result(f"kselftest here {title}: each ends with 4", f"{', '.join(wrong)}; {done.stderr[-300:]}" if wrong else "")
        suite.result(f"kselftest here {title}: each says why", reasons(done.stdout, len(scripts)))
        suite.result(f"kselftest here {title}: no disk was written to",
                     ", ".join(d for d, a, b in zip(disks_, before, after, strict=True) if a != b))
        subprocess.run(["rm", "-r", dev], check=True)


def switches(*names, disk=""):
    """The environment that allows things."""
    return dict(SWITCHES[n].format(disk).split("=", 1) for n in names)


def reasons(output, count):
    """Have `count` tests said why they are skipped? If not, what is wrong."""
    said = re.findall(r"^(?:# )?1\.\.0 # SKIP \S.*$", output, re.M)
    return "" if len(said) == count else f"{len(said)} of {count} reasons"


def boot(suite, files, script, more=(), **config):
    """A machine with the installed folder."""
    found = []
    for folder, _, names in os.walk(files):
        found += [f"{folder}/{n}:/kselftest{folder[len(files):]}/{n}" for n in names]
    return Machine(**suite.options.machine() | config, script=START + script, timeout=400,
                   files=[*found, *more]).run()


def parse(output):
    """By name of the test: ok, skip, or what is wrong."""
    results = {}
    for state, name, rest in re.findall(r"^(ok|not ok) \d+ selftests: iommu: (\S+)(.*)$", output, re.M):
        results[name] = ("skip" if "# SKIP" in rest else "ok") if state == "ok" else f"failed{rest}"
    return results


def compare(suite, what, output, log, scripts, passed):
    """All tests are there, those in `passed` have passed, all others were skipped."""
    got = parse(output)
    wrong = [f"{t}: {got.get(t, 'not run')}" for t in scripts if got.get(t) != ("ok" if t in passed else "skip")]
    for t in wrong:
        suite.say(f"# {t}")
        suite.say(block_of(output, t.split(":")[0]))
    suite.result(f"kselftest {what}: {len(passed)} pass, {len(scripts) - len(passed)} are skipped", ", ".join(wrong), log)


def block_of(output, test):
    """What a test has printed."""
    found = re.search(rf"^# selftests: iommu: {re.escape(test)}$\n(.*?)^(?:not )?ok \d+ selftests", output, re.M | re.S)
    return found[1].rstrip() if found else "# nothing"


def without_module(suite, files, scripts):
    """The module is installed, and not loaded: all are skipped."""
    r = boot(suite, files, "./run_kselftest.sh -c iommu\n", driver="none", ko="", devices=["nvme", "testdev"],
             more=[suite.options.module()])
    compare(suite, "without the module", r.output, r.log, scripts, set())
    suite.result("kselftest without the module: each says why", reasons(r.output, len(scripts)), r.log)
    suite.result("kselftest without the module: the status is 0", "" if r.ok else r.reason, r.log)


def safe(suite, files, scripts, tmp):
    """With the module: the safe ones pass, on a machine whose firmware wants a device to reach memory."""
    signature, make = TABLES[suite.options.unit]
    with open(f"{tmp}/table", "wb") as f:
        f.write(make(firmware_table(suite, signature, machine_args=TESTDEVS), 0x3000000, 0x2000, 0))
    r = boot(suite, files, "./run_kselftest.sh -c iommu\n", devices=["nvme", "e1000e", "usb-disk"], machine_args=TESTDEVS,
             append="memmap=1M$0x3000000", acpi_tables=[f"{signature}={tmp}/table"])
    compare(suite, "with the module", r.output, r.log, scripts, SAFE)
    regions = re.search(r"what firmware wants devices to reach is reserved \((\d+)\)", r.output)
    suite.result("kselftest with the module: the tables' memory was looked for", "" if regions else "none", r.log)
    suite.result("kselftest with the module: the status is 0", "" if r.ok else r.reason, r.log)


HOSTILE = """
# nvme gives its names in any order, and others after each binding: a disk is known by its function, 01:00.0 and so on.
node() {
    until n=$(ls "/sys/bus/pci/devices/0000:$1/nvme"/nvme*/ 2>/dev/null | grep -x 'nvme[0-9]*n1'); do sleep 0.1; done
    echo "/dev/$n"
}
all=$(sed -n 's/^iommu://p' kselftest-list.txt)
disk="binding.sh flr.sh io.sh life.sh types.sh"
# say_run NAME TESTS DISK VARIABLE...: each test by itself, with the name that the disk has now. DISK: its bus, and p1 for the partition.
say_run() {
    echo "RUN $1"; tests=$2 of=$3; shift 3
    for t in $tests; do
        env KSFT_IOMMU_BLOCK="$(node "${of%p1}:00.0")${of#??}" "$@" ./run_kselftest.sh -t "iommu:$t"
    done
}
may="KSFT_IOMMU_BLOCK_WRITE=1 KSFT_IOMMU_DISRUPTIVE=1"
echo "RUN nothing"
./run_kselftest.sh -c iommu
say_run precious "$all" 01 $may
say_run part "$disk" 01p1 $may
say_run full "$disk" 03 $may
say_run reading "$disk" 01 KSFT_IOMMU_DISRUPTIVE=1
cd iommu
echo "RUN used"
for t in binding flr io life types; do
    b=$(node 02:00.0)
    KSFT_IOMMU_BLOCK=$b KSFT_IOMMU_BLOCK_WRITE=1 KSFT_IOMMU_DISRUPTIVE=1 ./block_busy "$b" ./$t.sh
    echo "STATUS $t $?"
done
cd ..
say_run blank "$disk" 02 $may
echo "RUN end"
for d in /sys/bus/pci/devices/*; do
    echo "driver ${d##*/} $(basename "$(readlink "$d/driver")" 2>/dev/null) $(cat "$d/iommu_group/type" 2>/dev/null) '$(cat "$d/driver_override")'"
done
"""


def disks(suite, files, scripts, tmp):
    """Three disks: one with partitions, an empty one, one with data but no table."""
    full = bytearray(os.urandom(SIZE))
    precious = bytearray(full)
    # A partition of type 0x83 from 1 MiB to the end.
    precious[446:512] = bytes([0, 0, 2, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (SIZE // 512 - 2048).to_bytes(4, "little") + bytes(48) + b"\x55\xaa"
    # Only its end has something: there RAIDs have their superblocks.
    full[:SIZE - 4096] = bytes(SIZE - 4096)
    for name, data in ("precious", precious), ("blank", bytes(SIZE)), ("full", full):
        with open(f"{tmp}/{name}", "wb") as f:
            f.write(data)
    before = {name: checksum(f"{tmp}/{name}") for name in ("precious", "blank", "full")}
    r = boot(suite, files, HOSTILE, devices=[*(f"nvme:file={tmp}/{n}" for n in ("precious", "blank", "full")), "testdev"],
             modules=["vfio_iommu_type1=allow_unsafe_interrupts=1", "vfio-pci"])
    parts = dict(re.findall(r"^RUN (\w+)$\n(.*?)(?=^RUN |\Z)", r.output, re.M | re.S))
    for what, tests, passed, wanted in [
            ("nothing", scripts, SAFE, "no disk is named"),
            ("precious", scripts, SAFE | NO_DISK, r"/dev/nvme\dn1 is left alone: it has partitions"),
            ("part", sorted(DISK), set(), r"/dev/nvme\dn1p1 is left alone: it is not empty"),
            ("full", sorted(DISK), set(), r"/dev/nvme\dn1 is left alone: it is not empty"),
            ("reading", sorted(DISK), DISK, ""),
            ("blank", sorted(DISK), DISK, "")]:
        compare(suite, f"disk {what}", parts.get(what, ""), r.log, tests, passed)
        if wanted:
            suite.result(f"kselftest disk {what}: the reason is right", "" if re.search(wanted, parts.get(what, "")) else f"no '{wanted}'", r.log)
    used = parts.get("used", "")
    status = re.findall(r"^STATUS (\w+) 4$", used, re.M)
    suite.result("kselftest disk used: a claimed disk is left alone",
                 "" if len(status) == 5 and used.count("is left alone: it is in use") == 5 else used[-400:], r.log)
    for name, text in ("precious", "the named disk with partitions"), ("full", "the named disk with data at its end"):
        suite.result(f"kselftest: {text} is as it was", "" if checksum(f"{tmp}/{name}") == before[name] else "it was written to", r.log)
    suite.result("kselftest: the blank disk has its zeros back", "" if checksum(f"{tmp}/blank") == before["blank"] else "it has not", r.log)
    end = parts.get("end", "")
    left = [line for line in end.split("\n") if "identity" in line or ("vfio" in line) or (line and not line.endswith("'(null)'"))]
    suite.result("kselftest: drivers and types are as they were", "; ".join(left) if end.count(" nvme ") == 3 else f"not three disks with a driver; {left}", r.log)
    suite.result("kselftest disks: the status is 0", "" if r.ok else r.reason, r.log)


def checksum(path):
    """SHA-256 of a file."""
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()
