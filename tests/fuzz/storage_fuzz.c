/* The storage node's core among peers that say anything their role allows. Input: a byte for how it
 * begins (a member alone, lead, replica; consistent or available), then one byte for each thing
 * that happens, with what it needs behind it: a message drawn from the input (tests/fuzz/draw.h),
 * often one that names what the core knows, the usual next step of a client or peer, time, a
 * restart. Whatever they say, the core neither dies nor keeps what does not add up: at the end
 * the whole store is checked. Left out is what peers must be believed: copies of a shard, and that
 * bodies and ids in a lead's stream are such, which a lead checks when it takes them. */
#include <stdio.h>
#include <stdlib.h>

#include "common/doc/decide.h"
#include "common/doc/value.h"
#include "proto/msgpack.h"
#include "storage-node/internal.h"
#include "storage-node/verify.h"
#include "tests/fuzz/draw.h"
#include "tests/sim/storage_peers.h"

enum { STEPS_MAX = 48, NOT_LISTED = 14 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum start { START_ALONE, START_LEAD, START_LEAD_AVAILABLE, START_FOLLOW, START_FOLLOW_AVAILABLE };

enum step {
	STEP_WRITE = 8, /* below: a message */
	STEP_WRITE_MORE,
	STEP_READ,
	STEP_ACK,
	STEP_GRANT,
	STEP_TIME,
	STEP_PLACE,
	STEP_PROMISE,
	STEP_APPEND,
	STEP_RESOLVE,
	STEP_RESTART,
	STEP_DISK,
	STEPS
};

struct world {
	struct storage_bench bench;
	struct draw draw;
	struct arena arena;
	struct draw_known known;
	struct draw_kind kinds[DRAW_KINDS_MAX];
	uint32_t kinds_count;
	enum availability_mode mode;
	uint64_t epoch;
	uint64_t appended; /* entries that B has sent as lead */
	bool believed;     /* a copy was taken from a peer */
	bool unchecked;    /* the message that is drawn is no lead's stream */
	uint64_t counter;
};

/* ---- what the core knows ---- */

#define TEXT(t)                                                                                    \
	{                                                                                          \
		(const uint8_t *)(t), sizeof(t) - 1                                                \
	}

static const struct draw_texts texts[] = {
    {"id", LIMIT_ID_BYTES, {TEXT("a"), TEXT("b"), TEXT("c")}, 3},
    {"id",
     16,
     {TEXT("0123456789abcdef"), TEXT("0123456789abcdeg"), TEXT("\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1")},
     3},
    {"after", 0, {TEXT("a"), TEXT("")}, 2},
    {"body",
     0,
     {TEXT("\x81\xa1v\x01"), TEXT("\x81\xa1v\x92\x01\x02"), TEXT("\x80"),
      TEXT("\x81\xa4$inc\x81\xa1v\x01"), TEXT("\x82\xa1v\x02\xa1w\xa1x")},
     5},
    {"filter", 0, {TEXT("\x80"), TEXT("\x81\xa1v\x81\xa3$gt\x01")}, 2},
    {"order", 0, {TEXT("asc(v)"), TEXT("desc(v)")}, 2},
    {"fields", 0, {TEXT("v"), TEXT("w")}, 2},
    {"index", 0, {TEXT("v"), TEXT("w")}, 2},
    {"name", 0, {TEXT("c"), TEXT("v"), TEXT("w")}, 3},
    {"hash", 0, {TEXT("00000000000000000000000000000000"), TEXT("x")}, 2},
    {"document", 0, {TEXT("a"), TEXT("b"), TEXT("")}, 3},
    {"field", 0, {TEXT("v"), TEXT("")}, 2},
    {"lock_ids", 0, {TEXT("0123456789abcdef"), TEXT("0123456789abcdeg")}, 2},
    {"operation_id", 0, {TEXT("operation1234567"), TEXT("operation1234568")}, 2},
    {"edit_id", 0, {TEXT("operation1234567"), TEXT("operation1234568")}, 2},
    {"resolution_id", 0, {TEXT("resolution123456"), TEXT("resolution123457")}, 2},
    {"policy", 0, {TEXT(""), TEXT("\x81\xa8strategy\xa6newest")}, 2},
};

static void know_all(struct world *w)
{
	w->known.count = 0;
	DRAW_KNOW(&w->known, "shard", SHARD, SHARD, SHARD, SHARD + 1);
	DRAW_KNOW(&w->known, "id", SHARD, COLLECTION, SHARD + 1, 1, 2);
	DRAW_KNOW(&w->known, "collection", COLLECTION, COLLECTION + 1);
	DRAW_KNOW(&w->known, "epoch", w->epoch, w->epoch + 1, w->epoch - 1);
	DRAW_KNOW(&w->known, "lead", SELF, PEER_B, PEER_C, 0);
	DRAW_KNOW(&w->known, "node", SELF, PEER_B, PEER_C, NOT_LISTED);
	DRAW_KNOW(&w->known, "incarnation", INCARNATION + PEER_B, INCARNATION + PEER_C,
		  INCARNATION + SELF, INCARNATION + NOT_LISTED);
	DRAW_KNOW(&w->known, "boot", w->bench.boot, 1, 0);
	DRAW_KNOW(&w->known, "sent_ms", (uint64_t)w->bench.now_ms, (uint64_t)w->bench.now_ms - 50);
	DRAW_KNOW(&w->known, "until_ms", 0, (uint64_t)w->bench.now_ms + 1000,
		  (uint64_t)w->bench.now_ms - 1);
	DRAW_KNOW(&w->known, "status", STATUS_OK, STATUS_STREAM_GAP, STATUS_OLD_EPOCH,
		  STATUS_NOT_VOUCHING, STATUS_NO_SHARD, STATUS_LEASED, STATUS_STREAM_TRIMMED,
		  STATUS_DISK_FULL);
	DRAW_KNOW(&w->known, "hash_first", 0, 1);
	DRAW_KNOW(&w->known, "hash_last", UINT64_MAX, UINT64_MAX / 2);
	DRAW_KNOW(&w->known, "write_quorum", 2, 1, 3);
	DRAW_KNOW(&w->known, "number", w->appended, w->appended + 1, 1, 2, 3);
	DRAW_KNOW(&w->known, "settled", w->appended, w->appended + 1, 1, 2, 3);
	w->draw.numbers = w->known.numbers;
	w->draw.numbers_count = w->known.count;
}

static struct change *draw_change(struct world *w)
{
	struct change *change = draw_new(&w->draw, &schema_change);
	bool keeps_body = change->kind != CHANGE_SETTINGS && !w->unchecked;
	if (keeps_body && change->deleted)
		change->body.len = 0;
	else if (keeps_body && !value_is_document(change->body))
		change->body = slice_text("\x80");
	if (change->id.len > 0 && !w->unchecked && !document_id_ok(change->id))
		change->id = slice_text("a");
	return change;
}

static struct slice encoded_change(struct world *w)
{
	struct buf bytes = {0};
	schema_encode(&schema_change, draw_change(w), &bytes);
	struct slice copy = arena_copy(&w->arena, buf_slice(&bytes));
	buf_close(&bytes);
	return copy;
}

/* Structures inside bytes. */
static bool draw_inner(struct draw *d, const struct schema_field *f, struct slice *out)
{
	static const struct schema *const stored[] = {&schema_document, &schema_conflict,
						      &schema_shard_lock, &schema_edit_record,
						      &schema_collection};
	static const struct slice keys[] = {TEXT("a\0"),
					    TEXT("b\0"),
					    TEXT("a\0o"),
					    TEXT("a\0rr"),
					    TEXT("a\0\x01"
						 "1-x"),
					    TEXT("\0l0123456789abcdef"),
					    TEXT("g"),
					    TEXT("t0123456789abcdef")};
	if (strcmp(f->name, "change") == 0)
		*out = encoded_change(d->context);
	else if (strcmp(f->name, "value") == 0)
		*out = draw_encoded(d, stored[draw_below(d, ARRAY_LEN(stored))]);
	else if (strcmp(f->name, "key") == 0)
		*out = keys[draw_below(d, ARRAY_LEN(keys))];
	else if (strcmp(f->name, "body") == 0 && draw_below(d, 8) == 7)
		*out = draw_encoded(d, &schema_collection); /* of settings */
	else
		return false;
	return true;
}

/* ---- what happens ---- */

static uint64_t member_of(struct world *w, enum role role)
{
	static const uint64_t nodes[] = {PEER_B, PEER_C, NOT_LISTED};
	if (role == ROLE_GATEWAY)
		return GATEWAY;
	if (role == ROLE_ARBITER)
		return ARBITER;
	return role == ROLE_COORDINATOR ? COORDINATOR : nodes[draw_below(&w->draw, 3)];
}

static uint64_t draw_epoch(struct world *w)
{
	uint64_t choice = draw_below(&w->draw, 8);
	if (choice == 6)
		return w->epoch + 1;
	return choice == 7 ? w->epoch - 1 : w->epoch;
}

static void message(struct world *w)
{
	struct draw_kind kind = w->kinds[draw_below(&w->draw, w->kinds_count)];
	uint64_t from = member_of(w, kind.sender);
	uint64_t epoch = draw_epoch(w);
	w->unchecked = kind.type == MSG_outbox_push;
	void *value = draw_new(&w->draw, schema_of_message(kind.type));
	w->unchecked = false;
	w->believed |= kind.type == MSG_snapshot_chunk;
	storage_bench_deliver(&w->bench, from, kind.type, epoch, value);
}

static void write(struct world *w, bool unusual)
{
	static const char *const ids[] = {"a", "b", "c"};
	struct msg_doc_write m = peers_put(&w->bench, ids[draw_below(&w->draw, 3)], ++w->counter);
	if (unusual) {
		uint8_t flags = draw_byte(&w->draw);
		m.op = 1 + draw_below(&w->draw, WRITE_OP_MAX);
		m.branch = flags & 1;
		m.keep_as_branch = flags & 2;
		m.want_body = flags & 4;
		if (flags & 8 && w->draw.seen_count > 0) {
			m.expect = EXPECT_REVISION;
			m.expected = draw_new(&w->draw, &schema_revision);
			m.expected_count = 1;
			uint32_t age = (uint32_t)draw_below(&w->draw, DRAW_SEEN_MAX);
			if (age < w->draw.seen_count)
				*m.expected =
				    w->draw.seen[(w->draw.seen_count - 1 - age) % DRAW_SEEN_MAX];
		}
	}
	peers_write(&w->bench, w->epoch, &m);
	draw_learn(&w->draw, &schema_msg_doc_write_ack, &w->bench.written);
}

static void read(struct world *w)
{
	static const char *const ids[] = {"a", "b", "c"};
	peers_read(&w->bench, w->epoch, ids[draw_below(&w->draw, 3)], draw_below(&w->draw, 2));
	draw_learn(&w->draw, &schema_msg_doc_read_ack, &w->bench.was_read);
}

static void append(struct world *w)
{
	struct change *change = draw_change(w);
	uint64_t settled = w->appended + draw_below(&w->draw, 2);
	peers_append(&w->bench, w->epoch, w->epoch, w->appended, settled, change);
	draw_learn(&w->draw, &schema_change, change);
	w->appended++;
}

/* What an arbiter makes of the conflict of a document. */
static void resolve(struct world *w)
{
	static const char *const ids[] = {"a", "b", "c"};
	struct msg_conflict_read m = {.shard = SHARD,
				      .id = slice_text(ids[draw_below(&w->draw, 3)])};
	struct decision decision;
	w->bench.graph = (struct msg_conflict_read_ack){.status = STATUS_NOT_FOUND};
	storage_bench_deliver(&w->bench, ARBITER, MSG_conflict_read, w->epoch, &m);
	if (w->bench.graph.status != STATUS_OK)
		return;
	decide_conflict(&w->bench.graph, m.id, &w->arena, &decision);
	CHECK(decision.kind != DECISION_BROKEN || w->believed);
	if (decision.kind == DECISION_RESOLVE)
		storage_bench_deliver(&w->bench, ARBITER, MSG_conflict_resolve, w->epoch,
				      &decision.resolve);
	else if (decision.kind == DECISION_NOTE)
		storage_bench_deliver(&w->bench, ARBITER, MSG_conflict_note, w->epoch,
				      &decision.note);
}

static void place(struct world *w)
{
	static const uint64_t leads[] = {SELF, PEER_B, PEER_C};
	w->epoch += draw_below(&w->draw, 4) > 0;
	peers_place(&w->bench, w->epoch, leads[draw_below(&w->draw, 3)], w->mode);
}

static void disk(struct world *w)
{
	uint64_t level = draw_below(&w->draw, 3);
	struct event e = {.kind = EVENT_DISK, .disk = {.full = level > 0, .exhausted = level > 1}};
	storage_bench_step(&w->bench, &e);
	storage_bench_turn(&w->bench);
}

static void restart(struct world *w)
{
	storage_bench_stop(&w->bench, draw_below(&w->draw, 2));
	storage_bench_start(&w->bench);
}

static void step(struct world *w)
{
	static const int64_t times_ms[] = {50, 350, 1600, 6000};
	uint64_t kind = draw_below(&w->draw, STEPS);
	uint64_t peer = draw_below(&w->draw, 2) ? PEER_C : PEER_B;
	switch (kind) {
	case STEP_WRITE:
	case STEP_WRITE_MORE:
		write(w, kind == STEP_WRITE_MORE);
		break;
	case STEP_READ:
		read(w);
		break;
	case STEP_ACK:
		peers_ack(&w->bench, peer, w->epoch, draw_below(&w->draw, 64));
		break;
	case STEP_GRANT:
		peers_grant(&w->bench, peer, w->epoch, draw_below(&w->draw, 8) == 7);
		break;
	case STEP_TIME:
		storage_bench_advance(&w->bench, times_ms[draw_below(&w->draw, 4)]);
		break;
	case STEP_PLACE:
		place(w);
		break;
	case STEP_PROMISE:
		peers_promise(&w->bench, peer, w->epoch, STATUS_OK);
		break;
	case STEP_APPEND:
		append(w);
		break;
	case STEP_RESOLVE:
		resolve(w);
		break;
	case STEP_RESTART:
		restart(w);
		break;
	case STEP_DISK:
		disk(w);
		break;
	default:
		message(w);
	}
}

/* ---- the end ---- */

static bool has_ended(const struct world *w)
{
	const struct buf *trace = &w->bench.trace;
	return trace->len > 0 && (memmem(trace->data, trace->len, "reset: ", 7) ||
				  memmem(trace->data, trace->len, "exit: ", 6));
}

struct checked {
	struct verify *verify;
	enum store_family family;
};

static void check_pair(void *context, struct slice key, struct slice value)
{
	struct checked *checked = context;
	verify_pair(checked->verify, checked->family, key, value);
}

static void check_store(struct world *w)
{
	struct buf report = {0};
	struct checked checked = {.verify = verify_new()};
	for (int family = 0; family < STORE_FAMILIES; family++) {
		checked.family = (enum store_family)family;
		disk_walk(w->bench.disk, checked.family, slice_of(NULL, 0), check_pair, &checked);
	}
	bool good = verify_report(checked.verify, &report);
	if (!good && !w->believed)
		fprintf(stderr, "%s", buf_cstr(&report));
	CHECK(good || w->believed);
	verify_free(checked.verify);
	buf_close(&report);
}

static void begin(struct world *w)
{
	enum start start = (enum start)draw_below(&w->draw, START_FOLLOW_AVAILABLE + 1);
	w->epoch = 1;
	w->appended = 2;
	w->mode = start == START_LEAD_AVAILABLE || start == START_FOLLOW_AVAILABLE
		      ? MODE_AVAILABLE
		      : MODE_CONSISTENT;
	w->kinds_count = draw_kinds(ROLE_STORAGE, w->kinds);
	storage_bench_init(&w->bench);
	if (start == START_LEAD || start == START_LEAD_AVAILABLE)
		peers_lead(&w->bench, w->mode);
	else if (start != START_ALONE)
		peers_follow(&w->bench, w->mode);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *w = calloc(1, sizeof *w);
	CHECK(w);
	w->draw = (struct draw){.rest = slice_of(data, size),
				.arena = &w->arena,
				.texts = texts,
				.texts_count = ARRAY_LEN(texts),
				.bin = draw_inner,
				.context = w};
	begin(w);
	for (int i = 0; i < STEPS_MAX && w->draw.rest.len > 0 && !has_ended(w); i++) {
		buf_clear(&w->bench.trace);
		know_all(w);
		step(w);
		arena_reset(&w->arena);
	}
	if (!has_ended(w))
		check_store(w);
	storage_bench_close(&w->bench);
	arena_close(&w->arena);
	free(w);
	return 0;
}
