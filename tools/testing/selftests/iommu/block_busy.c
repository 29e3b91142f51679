// SPDX-License-Identifier: GPL-2.0
/*
 * Does anybody use a block device: a mount, swap, a RAID, a volume?
 *
 * usage: block_busy NODE [COMMAND...]
 *
 * The status is 0 if nobody does, 1 if somebody does or it cannot be told. The kernel gives a block device that is
 * claimed, or a part or the whole of which is, to nobody who asks for it alone (O_EXCL, without O_CREAT). With a command,
 * that runs meanwhile, and the status is its.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct stat st;
	int fd;

	if (argc < 2) {
		fprintf(stderr, "usage: block_busy NODE [COMMAND...]\n");
		return 1;
	}
	fd = open(argv[1], O_RDONLY | O_EXCL);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	if (fstat(fd, &st) || !S_ISBLK(st.st_mode)) {
		fprintf(stderr, "%s: no block device\n", argv[1]);
		return 1;
	}
	if (argc == 2)
		return 0;
	/* It is open for as long as the command runs. */
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 1;
}
