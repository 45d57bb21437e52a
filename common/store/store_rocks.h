/* The store on a real disk: one RocksDB with a column family per enum store_family. The sole user
 * of RocksDB.
 *
 * Torn logs. The end of the write-ahead log may hold half a record: SIGKILL and a full disk cut a
 * write short, and a power cut loses what was not synced. The commit mark (mark.h) tells which.
 *
 * If the process died and the machine did not, what is torn is a commit that never returned. It is
 * dropped, as if it had not begun: the store opens with everything that was ever committed.
 *
 * If the machine went down too, the last record of the log may be there in part: one thread writes,
 * and syncs each commit before it begins the next, so no commit that returned is hit. That is
 * dropped as well. The file may end within the record, or be long enough and end in zeros, where
 * its length was on the disk before its data (log_tail.h).
 *
 * If the log is damaged otherwise (a whole record with a false checksum, damage with more behind
 * it), or less is found than the mark vouches for: STORE_OPEN_CORRUPT. The damaged files are left
 * as they were; the caller sets the directory aside, takes a new incarnation and rebuilds from its
 * peers. accept_torn_log is the operator's way out when no peer is left. */
#ifndef PARLEY_STORE_STORE_ROCKS_H
#define PARLEY_STORE_STORE_ROCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/store/store.h"

struct store_rocks_options {
	const char *path;                 /* directory; made if missing, its parent must exist */
	size_t block_cache_bytes;         /* 0: 32 MiB; holds index and filter blocks too */
	size_t write_buffer_bytes;        /* of one family; 0: 16 MiB */
	size_t write_buffers_total_bytes; /* of all together; 0: 48 MiB */
	uint32_t reclaim_delay_ms;        /* until space of removed ranges is given back; 0: 5 s */
	bool statistics;      /* RocksDB's own counters in the metrics; costs a few percent */
	bool accept_torn_log; /* open what is readable up to the first damage in the log */
};

enum store_open {
	STORE_OPEN_OK,
	STORE_OPEN_CORRUPT, /* the data can't be vouched for; trying again won't help */
	STORE_OPEN_BUSY,    /* another store, here or in another process, has it open */
	STORE_OPEN_FAILED /* no space, no permission, I/O error: the operator's turn, then try again
			   */
};

/* On STORE_OPEN_OK *out is open: release with store_close, after all of its iterators. Otherwise
 * *out is NULL. Appends to *text what went wrong, or, when all is well, what is worth a line in the
 * log (often nothing). All that an opened store shows is durable. */
enum store_open store_rocks_open(const struct store_rocks_options *options, struct store **out,
				 struct buf *text) MUST_CHECK;

/* Called for each pair in key order; false ends the scan with STORE_BROKEN (the visitor has said
 * why). */
typedef bool store_rocks_visit(void *context, enum store_family family, struct slice key,
			       struct slice value);

/* Reads everything, block checksums verified; visit may be NULL. Appends a line per family to
 * *report, or what was found broken. */
enum store_result store_rocks_verify(struct store *s, store_rocks_visit *visit, void *context,
				     struct buf *report) MUST_CHECK;

/* Appends Prometheus text. Walks the directory: for scrapes, not for the hot path. */
void store_rocks_metrics(struct store *s, struct buf *out);

/* A read or a write has failed: what was concluded since may be wrong and must not leave the
 * process. */
bool store_rocks_failed(const struct store *s);
/* And it failed because the data on disk are damaged: trying again won't help. */
bool store_rocks_damaged(const struct store *s);

/* What the last STORE_FULL or STORE_BROKEN was about; empty if there was none. Borrowed from the
 * store. */
struct slice store_rocks_error(const struct store *s);

#endif
