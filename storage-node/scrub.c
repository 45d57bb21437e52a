#include "storage-node/scrub.h"

#include <stdlib.h>

#include "common/base/memory.h"

/* What of a shard's copy only its own node needs: the store tells if it can't be read. */
static const struct scrub_range {
	enum store_family family;
	char letter;
} beside[] = {
    {STORE_STREAM, 'e'}, {STORE_STREAM, 'v'},  {STORE_STREAM, 'o'},
    {STORE_STREAM, 'z'}, {STORE_INDEXES, 'i'}, {STORE_INDEXES, 'w'},
};

enum { SCRUB_RANGES = DIGEST_FAMILIES + ARRAY_LEN(beside) };

struct scrub {
	/* NULL: not read yet; [0]: between shards. Those that the digest is of are opened at once,
	 * so that they show the same commit. */
	struct store_iterator *its[SCRUB_RANGES];
	uint32_t at; /* which of them is read */
	bool urgent;
	uint64_t shard;
	uint64_t digest;                /* of what was read */
	struct shard_position position; /* of the commit shown */
	const char *wrong;              /* beside the digest; NULL: nothing */
	uint64_t unread;                /* shard that could not be read the last time; 0: none */
	bool start_due;                 /* the next shard waits for the commit */
	bool passing;
	uint64_t after; /* shards up to this one are done in this pass */
	int64_t next_pass_ms;
	int64_t passed_ms; /* end of the last pass; 0: none yet */
	uint64_t passes, pairs, bytes, shards;
};

static struct scrub *scrub_of(struct storage *s)
{
	if (!s->scrub)
		s->scrub = mem_alloc_zero(sizeof *s->scrub);
	return s->scrub;
}

static void close_shard(struct storage *s, struct scrub *w)
{
	for (uint32_t i = 0; i < SCRUB_RANGES; i++) {
		if (w->its[i])
			store_iterator_free(s->store, w->its[i]);
		w->its[i] = NULL;
	}
}

void scrub_free(struct storage *s)
{
	if (!s->scrub)
		return;
	close_shard(s, s->scrub);
	free(s->scrub);
	s->scrub = NULL;
}

void scrub_forget(struct storage *s, const struct shard_copy *c)
{
	if (s->scrub && s->scrub->its[0] && s->scrub->shard == c->id)
		close_shard(s, s->scrub);
}

/* ---- which shard is next ---- */

static struct shard_copy *urgent_shard(struct storage *s)
{
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		struct shard_copy *c = entry->value;
		const struct shard_integrity *i = &c->integrity;
		if (i->differs && !i->sound && !i->damaged && !c->position.copying)
			return c;
	}
	return NULL;
}

/* The one with the least id above those done; NULL: the pass is over. */
static struct shard_copy *next_shard(struct storage *s, const struct scrub *w)
{
	struct shard_copy *next = NULL;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		struct shard_copy *c = entry->value;
		if (c->id > w->after && !c->position.copying && (!next || c->id < next->id))
			next = c;
	}
	return next;
}

static struct scrub_range range_at(uint32_t at)
{
	return at < DIGEST_FAMILIES ? (struct scrub_range){digest_families[at], 'd'}
				    : beside[at - DIGEST_FAMILIES];
}

static void open_range(struct storage *s, struct scrub *w, uint32_t at)
{
	struct scrub_range range = range_at(at);
	w->its[at] = store_iterate(s->store, range.family);
	store_tolerate(s->store, w->its[at]);
	store_seek(s->store, w->its[at], key_shard(&s->key, range.letter, w->shard));
}

static void open_shard(struct storage *s, struct scrub *w, struct shard_copy *c)
{
	w->shard = c->id;
	w->position = c->position;
	w->digest = 0;
	w->wrong = NULL;
	w->at = 0;
	for (uint32_t i = 0; i < DIGEST_FAMILIES; i++)
		open_range(s, w, i);
}

static void start_next(struct storage *s, struct scrub *w, struct effects *fx)
{
	struct shard_copy *c = urgent_shard(s);
	w->urgent = c != NULL;
	if (!c && !w->passing && s->now_ms >= w->next_pass_ms) {
		w->passing = true;
		w->after = 0;
		w->next_pass_ms = s->now_ms + s->options.scrub_rest_ms;
	}
	if (!c && !w->passing)
		return;
	if (!c)
		c = next_shard(s, w);
	if (c) {
		open_shard(s, w, c);
		return;
	}
	w->passing = false;
	w->passes++;
	w->passed_ms = s->now_ms;
	fx_log(fx, LOG_LEVEL_DEBUG, "scrub_pass_done passes=%llu", (unsigned long long)w->passes);
}

/* ---- reading ---- */

/* NULL: a body, or a chunk: what is in it only its client knows; or a bare number. */
static const struct schema *schema_of(enum store_family family, struct slice key, bool *known)
{
	struct slice id;
	struct slice rest;
	if (family == STORE_ATTACHMENTS)
		return key_attachments_schema(key, known);
	*known = key_split(key, &id, &rest);
	if (!*known)
		return NULL;
	if (family == STORE_CONFLICTS)
		return key_conflicts_schema(id, rest);
	enum key_part part = key_part_of(rest);
	if (part == KEY_PART_RECORD)
		return &schema_document;
	return part == KEY_PART_OPERATION ? &schema_operation : NULL;
}

static const char *what_is_wrong(struct storage *s, enum store_family family, struct slice key,
				 struct slice value)
{
	union {
		struct document document;
		struct conflict conflict;
		struct shard_lock lock;
		struct operation operation;
		struct tombstone tombstone;
		struct purged purged;
		struct checkpoint checkpoint;
		struct attachment attachment;
		struct upload upload;
	} out;
	bool known;
	const struct schema *schema = schema_of(family, key, &known);
	if (!known)
		return "a key of no known kind";
	if (!schema)
		return NULL;
	struct arena_mark mark = arena_mark(&s->arena);
	bool decodes = schema_decode(schema, value, &s->arena, &out);
	arena_rewind(&s->arena, mark);
	return decodes ? NULL : "a record can't be read";
}

/* What replicas share adds up to the digest, and is what its keys say. */
static void take_pair(struct storage *s, struct scrub *w, struct slice key, struct slice value)
{
	w->digest += digest_pair(digest_families[w->at], key, value);
	const char *wrong = what_is_wrong(s, digest_families[w->at], key, value);
	if (wrong)
		w->wrong = wrong;
}

/* False: the range is at its end. */
static bool read_pair(struct storage *s, struct scrub *w, int64_t *budget)
{
	if (!w->its[w->at])
		open_range(s, w, w->at);
	struct store_iterator *it = w->its[w->at];
	if (!store_valid(s->store, it))
		return false;
	struct slice key = store_key(s->store, it);
	if (key.len < KEY_SHARD_BYTES || key.data[0] != (uint8_t)range_at(w->at).letter ||
	    be64_read(key.data + 1) != w->shard)
		return false;
	struct slice value = store_value(s->store, it);
	if (w->at < DIGEST_FAMILIES)
		take_pair(s, w, key, value);
	w->pairs++;
	w->bytes += key.len + value.len;
	*budget -= (int64_t)(key.len + value.len + SCRUB_PAIR_BYTES);
	store_next(s->store, it);
	return true;
}

/* What an older version stored has no digest yet: what changed meanwhile is in the difference. */
static void adopt_digest(struct scrub *w, struct shard_copy *c)
{
	c->position.digest += w->digest - w->position.digest;
	c->position.digested = true;
	c->position_dirty = true;
	w->position.digest = w->digest;
}

/* A disk may fail once: what can't be read is read again. True: so it will be. */
static bool reads_again(struct scrub *w, bool read, struct effects *fx)
{
	bool again = !read && w->unread != w->shard;
	w->unread = again ? w->shard : 0;
	if (!read)
		w->wrong = "what is stored can't be read";
	if (again)
		fx_log(fx, LOG_LEVEL_WARN, "scrub_unreadable shard=%016llx",
		       (unsigned long long)w->shard);
	return again;
}

static void check_digest(struct scrub *w, struct shard_copy *c)
{
	if (!w->position.digested && !c->position.digested)
		adopt_digest(w, c);
	if (w->position.digested && w->digest != w->position.digest)
		w->wrong = "what is stored does not add up to its digest";
}

static void finish_shard(struct storage *s, struct scrub *w, struct effects *fx)
{
	struct shard_copy *c = shard_get(s, w->shard);
	bool read = true;
	for (uint32_t i = 0; i < SCRUB_RANGES; i++)
		read = read && store_iterator_result(s->store, w->its[i]) == STORE_OK;
	close_shard(s, w);
	if (reads_again(w, read, fx))
		return;
	if (!w->urgent)
		w->after = w->shard;
	if (!c)
		return;
	w->shards++;
	if (read)
		check_digest(w, c);
	if (w->wrong && !MUTATION(damage_overlooked))
		damage_found(s, c, w->wrong, fx);
	else
		c->integrity.sound = true;
}

static void step(struct storage *s, struct scrub *w, struct effects *fx)
{
	int64_t budget = (int64_t)(s->options.scrub_bytes_per_second * TICK_MS / 1000);
	if (w->urgent)
		budget *= SCRUB_URGENT;
	while (budget > 0) {
		if (read_pair(s, w, &budget))
			continue;
		if (++w->at == SCRUB_RANGES) {
			finish_shard(s, w, fx);
			return;
		}
	}
}

void scrub_tick(struct storage *s, struct effects *fx)
{
	if (s->options.scrub_bytes_per_second == 0)
		return;
	struct scrub *w = scrub_of(s);
	if (w->its[0]) {
		step(s, w, fx);
		return;
	}
	w->start_due = store_dirty(s->store);
	if (!w->start_due)
		start_next(s, w, fx);
}

void scrub_stored(struct storage *s, struct effects *fx)
{
	if (!s->scrub || !s->scrub->start_due || store_dirty(s->store))
		return;
	s->scrub->start_due = false;
	start_next(s, s->scrub, fx);
}

/* ---- metrics ---- */

void scrub_metrics(const struct storage *s, struct buf *out)
{
	static const struct scrub none;
	const struct scrub *w = s->scrub ? s->scrub : &none;
	uint64_t damaged = 0;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));)
		damaged += ((const struct shard_copy *)entry->value)->integrity.damaged;
	uint64_t age_s = w->passed_ms ? (uint64_t)(s->now_ms - w->passed_ms) / 1000 : 0;
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
	    {"parley_shards_damaged", damaged},
	    {"parley_damage_found_total", s->damage_total},
	    {"parley_digest_differs_total", s->differs_total},
	    {"parley_scrub_passes_total", w->passes},
	    {"parley_scrub_shards_total", w->shards},
	    {"parley_scrub_pairs_total", w->pairs},
	    {"parley_scrub_bytes_total", w->bytes},
	    {"parley_scrub_last_pass_age_seconds", age_s},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		buf_printf(out, "%s %llu\n", rows[i].name, (unsigned long long)rows[i].value);
}
