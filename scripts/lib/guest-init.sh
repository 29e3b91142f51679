#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The guest's /init (see scripts/lib/vm/initramfs.py): mounts, loads the modules of /etc/vm-load
# in order, runs /run.sh and says with which status it ended. The kernel's messages go to ttyS0,
# everything of the script to ttyS1.
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t debugfs debug /sys/kernel/debug
mkdir -p /dev/shm /dev/pts
stty -F /dev/ttyS1 raw -echo
exec </dev/null >/dev/ttyS1 2>&1
set -a
. /etc/vm-env
set +a

vm_exit() {
	# The end of an interactive shell hangs up the terminal.
	exec >/dev/ttyS1 2>&1
	echo "@@vm-exit $1@@"
	# Setting a terminal waits until its output is gone.
	stty -F /dev/ttyS1 raw -echo
	poweroff -f
	sleep 60
}

while read -r name params; do
	# shellcheck disable=SC2086 # parameters are words
	if ! modprobe "$name" $params; then
		echo "cannot load $name $params; the kernel's last messages:"
		dmesg | tail -n 12
		vm_exit 125
	fi
done </etc/vm-load

echo "@@vm-ready@@"
if [ "$VM_SHELL" = 1 ]; then
	cd /root || :
	echo "Machine is up; leave it with Ctrl-D. Functions for scripts: . /lib/vm.sh"
	stty -F /dev/ttyS1 sane
	ENV=/lib/vm.sh setsid sh -c 'exec sh -i </dev/ttyS1 >/dev/ttyS1 2>&1'
else
	cd /root || :
	/bin/sh -c '. /lib/vm.sh; . /run.sh'
fi
vm_exit $?
