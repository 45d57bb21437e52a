/* Reads a whole store, that nobody uses, and says what it holds and what is wrong with it:
 * parley-storage-node --verify. Without I/O of its own: the shell hands in each pair, families in
 * the order of enum store_family, keys in order. */
#ifndef PARLEY_STORAGE_VERIFY_H
#define PARLEY_STORAGE_VERIFY_H

#include "common/base/buf.h"
#include "common/store/store.h"

struct verify;

struct verify *verify_new(void);
void verify_free(struct verify *v);
/* Looks at one pair; what is wrong with it goes to the report, at most VERIFY_FAULTS_SHOWN times.
 */
void verify_pair(struct verify *v, enum store_family family, struct slice key, struct slice value);
/* Appends a line per shard: position, counts, and a digest of documents and conflicts that is equal
 * on all replicas that have applied as much. True if nothing is wrong. */
bool verify_report(struct verify *v, struct buf *out);

#endif
