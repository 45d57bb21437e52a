/* The commit mark: a small file beside the log that says how far the store is known to have
 * committed, so that opening it can tell the harmless end of a crash from lost data.
 *
 * It is rewritten after every commit, and synced now and then. What a process writes survives its
 * own death, so within one boot of the machine `done` covers every commit that returned. After a
 * power cut an older copy may be found, never a newer: `synced`, written only after the sync that
 * it speaks of, is then a lower bound, by a second or so. */
#ifndef PARLEY_STORE_MARK_H
#define PARLEY_STORE_MARK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/check.h"

#define MARK_FILE "COMMITTED"

enum { MARK_BOOT_BYTES = 16 };

/* Positions are the store's own sequence numbers. */
struct mark {
	int fd;                        /* -1: not open */
	uint64_t done;                 /* commits up to here returned */
	uint64_t synced;               /* and up to here they were synced */
	uint8_t boot[MARK_BOOT_BYTES]; /* of the machine; zero: unknown */
};

/* What a mark found on disk says. */
struct mark_found {
	bool valid;     /* false: no mark, or not a readable one */
	bool same_boot; /* the machine has been up since: `done` counts */
	uint64_t done;
	uint64_t synced;
};

struct mark_found mark_read(const char *directory);
/* Creates or replaces the mark with done = synced = sequence, durably. False on an I/O error. */
bool mark_open(struct mark *m, const char *directory, uint64_t sequence) MUST_CHECK;
/* False on an I/O error: then the mark on disk must not be relied on, and the store is broken. */
bool mark_write(struct mark *m, uint64_t sequence, bool synced) MUST_CHECK;
/* Makes what was written last durable. False on an I/O error. */
bool mark_sync(const struct mark *m) MUST_CHECK;
void mark_close(struct mark *m);

/* Makes the names in a directory durable, and its own name in the one that it is in: neither comes
 * with the sync of a file. False on an I/O error. */
bool directory_sync(const char *directory) MUST_CHECK;

#endif
