// SPDX-License-Identifier: GPL-2.0
/*
 * Overwrites free memory of the kind that drivers had with ones, so that what still points to it
 * shows. The data of pipes is such memory; a program's own pages come from elsewhere first.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PIPES 200
#define SIZE (1 << 20)

static char ones[SIZE];

int main(void)
{
	int i, ends[2];

	memset(ones, 0xff, sizeof(ones));
	for (i = 0; i < PIPES; i++) {
		if (pipe(ends) || fcntl(ends[1], F_SETPIPE_SZ, SIZE) < SIZE) {
			perror("fill_free: pipe");
			return 1;
		}
		if (write(ends[1], ones, SIZE) != SIZE) {
			perror("fill_free: write");
			return 1;
		}
	}
	return 0;
}
