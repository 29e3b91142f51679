/* SPDX-License-Identifier: GPL-2.0 */
/* Waits for a fault line of the IOMMU driver in the kernel's log. */
#ifndef FAULT_WATCH_H
#define FAULT_WATCH_H

#include <fcntl.h>
#include "kselftest.h"

/* The log's end: only what comes later is seen. */
static inline int fault_watch_start(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);

	if (fd < 0 || lseek(fd, 0, SEEK_END) < 0)
		ksft_exit_fail_perror("/dev/kmsg");
	return fd;
}

/* Did a line with `text` come within a few seconds? Closes the watch. */
static inline bool fault_watch_seen(int fd, const char *text)
{
	char line[2048];
	bool seen = false;
	int tries;

	for (tries = 0; !seen && tries < 300; tries++) {
		ssize_t n = read(fd, line, sizeof(line) - 1);

		if (n < 0) {
			/* EPIPE: lines were lost to a flood; go on with the next. */
			if (errno == EAGAIN)
				usleep(10000);
			continue;
		}
		line[n] = 0;
		seen = strstr(line, text) != NULL;
	}
	close(fd);
	return seen;
}

#endif
