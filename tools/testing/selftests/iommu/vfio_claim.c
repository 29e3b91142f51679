// SPDX-License-Identifier: GPL-2.0
/*
 * Claims a device's IOMMU group for user space and runs a command. All DMA of the group is blocked
 * meanwhile; with -s it has an empty address space instead.
 *
 * usage: vfio_claim [-s] BDF COMMAND...
 *
 * The status is the command's, or 125 if the group could not be claimed.
 */
#include <sys/wait.h>
#include "vfio_device.h"

int main(int argc, char **argv)
{
	char path[128], target[256];
	int container, group, state;
	const char *number;
	ssize_t n;
	int space = argc > 1 && !strcmp(argv[1], "-s");
	pid_t pid;

	argv += space;
	argc -= space;
	if (argc < 3) {
		fprintf(stderr, "usage: vfio_claim [-s] BDF COMMAND...\n");
		return 125;
	}
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", argv[1]);
	n = readlink(path, target, sizeof(target) - 1);
	target[n < 0 ? 0 : n] = 0;
	number = strrchr(target, '/');
	snprintf(path, sizeof(path), "/dev/vfio%s", number ? number : "/none");
	container = open("/dev/vfio/vfio", O_RDWR);
	group = open(path, O_RDWR);
	/* The kernel takes the group from its drivers here. */
	if (container < 0 || group < 0 || ioctl(group, VFIO_GROUP_SET_CONTAINER, &container)) {
		fprintf(stderr, "vfio_claim: %s: %s\n", path, strerror(errno));
		return 125;
	}
	if (space && ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)) {
		fprintf(stderr, "vfio_claim: no address space: %s\n", strerror(errno));
		return 125;
	}
	pid = fork();
	if (!pid) {
		execvp(argv[2], argv + 2);
		_exit(125);
	}
	if (pid < 0 || waitpid(pid, &state, 0) != pid || !WIFEXITED(state))
		return 125;
	return WEXITSTATUS(state);
}
