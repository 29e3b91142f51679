# SPDX-License-Identifier: GPL-2.0
"""What tools find of the units in /sys/class/iommu: the same files with the same values as with the C driver."""

import re

from vm import Machine

# All files below a unit's folder but those that each device of the kernel has, and its devices.
SHOW = """cd /sys/class/iommu
for u in *; do
	echo "UNIT $u $(readlink -f "$u")"
	find "$u/" -type f | grep -vE '/(uevent|power/.*)$' | sort | while read -r f; do
		echo "FILE $f $(stat -c %a "$f") $(cat "$f")"
	done
	for d in "$u"/devices/*; do
		# Ports have their driver before any module, and ours takes no device from a driver.
		case $(readlink "$d/driver") in */pcieport) echo "PORT $u" ;; *) echo "DEVICE $u ${d##*/}" ;; esac
	done
done
"""
# What the attributes are documented to be, and one more for each family that only the C drivers' sources say.
WANTED = {
    "amd-vi": ("ivhd0", ["amd-iommu/cap", "amd-iommu/features"]),
    "vt-d": ("dmar0", [f"intel-iommu/{f}" for f in ("address", "cap", "domains_supported", "domains_used", "ecap", "version")]),
}
# The groups of the ports have no domain with ours.
USED = "intel-iommu/domains_used"


def show(suite, driver):
    """The lines of one driver, and the log."""
    options = suite.options.machine() | {"driver": driver, "ko": suite.options.ko if driver == "rust" else ""}
    r = Machine(**options, devices=["nvme", "e1000e"], script=SHOW).run()
    return re.findall(r"^(?:UNIT|FILE|DEVICE|PORT) .*$", r.output, re.M), r


def run(suite):
    """Both drivers in the same machine."""
    unit, files = WANTED[suite.options.unit]
    (ours, r), (theirs, _) = show(suite, suite.options.driver), show(suite, "c")
    have = [line.split()[1] for line in theirs if line.startswith("FILE ")]
    suite.result("sysfs control: the C driver has what is documented",
                 "" if have == [f"{unit}/{f}" for f in files] else f"it has {have}", r.log)
    for what in ("UNIT", "FILE", "DEVICE"):
        a, b = ([line for line in lines if line.startswith(what) and USED not in line] for lines in (ours, theirs))
        odd = sorted(set(a) ^ set(b))
        suite.result(f"sysfs {what.lower()}s are those of the C driver", f"not in both: {odd}" if odd or not a else "", r.log)
    if suite.options.unit == "vt-d":
        a, b = (sum(int(line.split()[-1]) for line in lines if USED in line) for lines in (ours, theirs))
        ports = sum(line.startswith("PORT") for line in theirs)
        suite.result("sysfs domains in use, but for those of ports, are counted as by the C driver",
                     "" if 0 < a == b - ports else f"ours {a}, theirs {b}, ports {ports}", r.log)
