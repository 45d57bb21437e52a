/* Attempts to write that were refused in words their clients are told. What was refused is not done
 * when another copy of the message comes, though the lock has gone or the disk has room again by
 * then: so it is remembered, as long as a copy may be on its way. A client's next attempt is
 * another one, whatever its operation id. Bounded: the newest ATTEMPTS_MAX of each shard. */
#ifndef PARLEY_STORAGE_ATTEMPT_H
#define PARLEY_STORAGE_ATTEMPT_H

#include "common/base/map.h"
#include "proto/schema.h"
#include "proto/status.h"

enum { ATTEMPTS_MAX = 4096, ATTEMPT_KEY_BYTES = 16 };

struct storage;
struct shard_copy;

struct refused_attempt {
	uint8_t key[ATTEMPT_KEY_BYTES];
	int64_t until_ms; /* 0: free */
	enum status status;
};

/* All zero is valid. */
struct refused_attempts {
	struct map by_key;            /* key -> struct refused_attempt* */
	struct refused_attempt *ring; /* of ATTEMPTS_MAX */
	uint32_t next;
	int64_t until_ms; /* all are forgotten then */
};

void attempt_refused(const struct storage *s, struct shard_copy *c, const struct msg_doc_write *m,
		     enum status status);
/* How it was refused; OK if it was not. */
enum status attempt_status(const struct storage *s, const struct shard_copy *c,
			   const struct msg_doc_write *m);
void attempt_tick(const struct storage *s, struct shard_copy *c);
void attempt_clear(struct shard_copy *c);

#endif
