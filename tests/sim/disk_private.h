/* What the files of the simulated disk share. */
#ifndef PARLEY_SIM_DISK_PRIVATE_H
#define PARLEY_SIM_DISK_PRIVATE_H

#include "tests/sim/disk.h"
#include "tests/sim/versions.h"

/* A version that a rollback may have to take back, or that made older ones superfluous. */
struct touch {
	struct node *node;
	uint64_t number;
	enum store_family family;
};

struct disk {
	struct versions families[STORE_FAMILIES];
	uint64_t committed;    /* number of the last commit; versions of the next one are pending */
	uint64_t durable;      /* <= committed: survives a power cut */
	struct touch *touched; /* in the order of their numbers */
	size_t touched_count;
	size_t touched_cap;
	uint64_t bytes; /* of the newest version of every key */
	uint64_t put;   /* bytes, since the last commit */
	uint64_t put_max;
	uint64_t capacity;
	uint32_t iterators; /* while there are any, no version is freed that they may show */
	enum store_result next_commit;
	bool opened;
	bool torn;
};

/* Writes value, or removes the key where value is NULL, as part of the next commit. */
void disk_write(struct disk *d, enum store_family family, struct slice key,
		const struct slice *value);
void disk_erase(struct disk *d, enum store_family family, struct node *node);
/* Takes back all versions after this number. */
void disk_rollback(struct disk *d, uint64_t number);
/* Frees what nobody can see or come back to any more. */
void disk_prune(struct disk *d);

#endif
