/* Rows of views on the disk, and what they are made of. */
#include <stdlib.h>

#include "common/doc/collation_key.h"
#include "common/doc/graph.h"
#include "common/doc/json.h"
#include "common/doc/revision.h"
#include "common/doc/script_document.h"
#include "common/doc/value.h"
#include "storage-node/record_peek.h"
#include "storage-node/sequence.h"
#include "storage-node/view.h"

/* ---- keys ---- */

/* Parts of a view's keys. */
enum { PART_DOCUMENT = 'd', PART_ROW = 'r', PART_END = 's' };
enum {
	ID_HEAD_BYTES = 5, /* in view->ids: length, whether the function sees it */
	PLACE_TAIL_BYTES =
	    7 /* of a place, behind the id: 0, number of the row, where the id begins */
};

static struct slice key_view(struct buf *out, const struct view *v)
{
	key_shard(out, 'w', v->shard);
	buf_append(out, v->signature, sizeof v->signature);
	return buf_slice(out);
}

static struct slice key_part(struct buf *out, const struct view *v, uint8_t part, struct slice rest)
{
	key_view(out, v);
	buf_append_byte(out, part);
	buf_append_slice(out, rest);
	return buf_slice(out);
}

/* ---- its state ---- */

void view_load(struct storage *s, struct view *v)
{
	struct slice value;
	struct view_state state;
	if (store_get(s->store, STORE_META, key_view(&s->key, v), &value) != STORE_OK ||
	    !schema_decode(&schema_view_state, arena_copy(&s->arena, value), &s->arena, &state))
		return;
	if (state.form != collation_form()) {
		view_remove(s, v);
		return;
	}
	REACHED(view_goes_on);
	v->number = v->stored = state.number;
	v->rows = state.rows;
}

void view_save(struct storage *s, const struct view *v)
{
	struct view_state state = {.signature = slice_of(v->signature, sizeof v->signature),
				   .number = v->number,
				   .rows = v->rows,
				   .form = collation_form()};
	buf_clear(&s->value);
	schema_encode(&schema_view_state, &state, &s->value);
	store_put(s->store, STORE_META, key_view(&s->key, v), buf_slice(&s->value));
}

void view_remove(struct storage *s, const struct view *v)
{
	struct buf end = {0};
	store_remove_range(s->store, STORE_INDEXES, key_view(&s->key, v),
			   key_part(&end, v, PART_END, slice_of(NULL, 0)));
	store_remove(s->store, STORE_META, key_view(&s->key, v));
	buf_close(&end);
}

/* ---- what the function sees ---- */

static void write_conflicts(const struct document *doc, uint32_t winner, uint32_t count,
			    struct buf *out)
{
	mp_write_text(out, "_conflicts");
	mp_write_array(out, count);
	for (uint32_t i = 0; i < doc->revisions_count; i++) {
		struct buf name = {0};
		if (i == winner || !graph_is_leaf(doc, i) || !graph_is_live(doc, i))
			continue;
		struct revision revision = graph_name(doc, i);
		revision_print(&revision, &name);
		mp_write_str(out, buf_slice(&name));
		buf_close(&name);
	}
}

/* False: there is no live one. Most have one leaf, for which a glance at the record is enough.
 * local_seq: 0: not shown. */
static bool write_document(struct storage *s, struct shard_copy *c, struct slice id,
			   uint64_t local_seq, struct buf *out)
{
	struct slice record;
	struct record_peek peek;
	struct document_view d;
	struct buf more = {0};
	if (store_get(s->store, STORE_DOCUMENTS, key_document(&s->key, c->id, id), &record) !=
		STORE_OK ||
	    !record_peek(record, &peek) || !peek.live)
		return false;
	struct script_document document = {.id = id, .revision = peek.winner, .body = peek.body};
	if (peek.leaves > 1) {
		document_load(s, c, id, &d);
		uint32_t winner = (uint32_t)graph_winner(&d.doc);
		write_conflicts(&d.doc, winner, peek.leaves - 1, &more);
		document.revision = graph_name(&d.doc, winner);
		document.body = d.doc.body;
		document.more_count++;
	}
	if (local_seq > 0) {
		mp_write_text(&more, "_local_seq");
		mp_write_u64(&more, local_seq);
		document.more_count++;
	}
	document.more = buf_slice(&more);
	script_document_write(&document, out);
	buf_close(&more);
	return true;
}

static bool is_design(struct slice id)
{
	return id.len > 8 && memcmp(id.data, "_design/", 8) == 0;
}

/* Appends it as JSON. True if the function sees it. */
static bool collect_one(struct storage *s, struct shard_copy *c, const struct view *v,
			const struct sequence_row *row, struct buf *out)
{
	bool design = is_design(row->id);
	if (!design && row->id.len > 0 && row->id.data[0] == '_')
		return false; /* in no list of CouchDB's clients */
	if (design && !(v->options & VIEW_INCLUDE_DESIGN))
		return false;
	buf_clear(&s->value);
	if (!write_document(s, c, row->id, v->options & VIEW_LOCAL_SEQ ? row->number : 0,
			    &s->value))
		return false;
	size_t before = out->len;
	if (v->documents > 0)
		buf_append_byte(out, ',');
	if (json_from_msgpack(buf_slice(&s->value), out))
		return true;
	out->len = before;
	return false;
}

static void remember(struct view *v, struct slice id, bool seen)
{
	buf_append_be32(&v->ids, (uint32_t)id.len);
	buf_append_byte(&v->ids, seen);
	buf_append_slice(&v->ids, id);
	v->documents += seen;
}

bool view_collect(struct storage *s, struct shard_copy *c, struct view *v, struct buf *arguments)
{
	struct sequence_scan scan;
	struct sequence_row row;
	struct buf documents = {0};
	uint32_t passed = 0;
	bool ended = true;
	buf_clear(&v->ids);
	buf_append_byte(&documents, '[');
	v->documents = 0;
	v->last = c->committed > v->number ? c->committed : v->number;
	if (v->number == 0)
		v->new_until = c->committed;
	sequence_open(&scan, s, c, v->number, UINT64_MAX, false);
	while (sequence_next(&scan, &row)) {
		struct arena_mark mark = arena_mark(&s->arena);
		remember(v, row.id, collect_one(s, c, v, &row, &documents));
		arena_rewind(&s->arena, mark);
		ended = ++passed < v->most && documents.len < VIEW_BATCH_BYTES;
		if (!ended)
			break;
	}
	if (!ended)
		v->last = scan.passed;
	bool broken = scan.broken;
	sequence_close(&scan);
	buf_append_byte(&documents, ']');
	mp_write_array(arguments, 3);
	mp_write_str(arguments, buf_slice(&v->map));
	mp_write_str(arguments, buf_slice(&v->library));
	mp_write_str(arguments, buf_slice(&documents));
	buf_close(&documents);
	return !broken;
}

bool view_shows(const struct view *v, struct slice id)
{
	struct slice ids = buf_slice(&v->ids);
	while (ids.len >= ID_HEAD_BYTES) {
		size_t len = be32_read(ids.data);
		if (ids.data[4] && slice_equal(slice_of(ids.data + ID_HEAD_BYTES, len), id))
			return true;
		ids = slice_of(ids.data + ID_HEAD_BYTES + len, ids.len - ID_HEAD_BYTES - len);
	}
	return false;
}

/* ---- what it makes of them ---- */

static bool is_output(struct slice output, uint32_t documents)
{
	struct mp_reader r = mp_reader_of(output);
	struct mp_token head = mp_read(&r);
	if (head.type != MP_ARRAY || head.count != documents)
		return false;
	for (uint32_t i = 0; i < documents; i++) {
		struct slice rows = mp_value(&r);
		struct mp_reader inside = mp_reader_of(rows);
		struct mp_token list = mp_read(&inside);
		bool none = list.type == MP_NIL;
		if (!none && (list.type != MP_ARRAY || list.count % 2 != 0))
			return false;
	}
	return true;
}

/* Collated keys of a document's rows, each behind its length. */
void view_remove_rows(struct storage *s, struct view *v, struct slice id)
{
	struct slice value;
	struct buf key = {0};
	if (store_get(s->store, STORE_INDEXES, key_part(&key, v, PART_DOCUMENT, id), &value) !=
	    STORE_OK) {
		buf_close(&key);
		return;
	}
	struct slice list = arena_copy(&s->arena, value);
	store_remove(s->store, STORE_INDEXES, buf_slice(&key));
	while (list.len >= 4) {
		size_t len = be32_read(list.data);
		if (len > list.len - 4)
			break;
		key_part(&key, v, PART_ROW, slice_of(list.data + 4, len));
		if (!MUTATION(view_row_stays))
			store_remove(s->store, STORE_INDEXES, buf_slice(&key));
		v->rows -= v->rows > 0;
		list = slice_of(list.data + 4 + len, list.len - 4 - len);
	}
	buf_close(&key);
}

/* What is not in a view although it was to be. */
struct left_out {
	uint32_t threw; /* documents */
	uint32_t crowded;
	uint32_t keys; /* rows */
};

static void tell(struct storage *s, const struct view *v, const struct left_out *left,
		 struct effects *fx)
{
	if (left->threw + left->crowded + left->keys == 0)
		return;
	s->view_skipped += left->threw + left->crowded;
	s->view_left_out += left->keys;
	fx_log(fx, LOG_LEVEL_WARN,
	       "view_rows_left_out shard=%016llx number=%llu threw=%u too_many_rows=%u "
	       "keys_too_long=%u",
	       (unsigned long long)v->shard, (unsigned long long)v->last, (unsigned)left->threw,
	       (unsigned)left->crowded, (unsigned)left->keys);
}

/* rows: keys and values in turn, or nil. A key that is too long has no place: its row is left out.
 */
static void put_rows(struct storage *s, struct view *v, struct slice id, struct slice rows,
		     struct left_out *left)
{
	enum collation_order order = v->options & VIEW_RAW ? COLLATION_RAW : COLLATION_UNICODE;
	struct mp_reader r = mp_reader_of(rows);
	struct mp_token head = mp_read(&r);
	struct buf list = {0};
	struct buf place = {0};
	uint32_t count = head.type == MP_ARRAY ? head.count / 2 : 0;
	bool crowded = count > VIEW_ROWS_MAX;
	left->threw += head.type == MP_NIL;
	left->crowded += crowded;
	for (uint32_t i = 0; i < count && !crowded; i++) {
		struct slice key = mp_value(&r);
		struct slice value = mp_value(&r);
		buf_clear(&place);
		if (!collation_key(order, key, &place)) {
			left->keys++;
			continue;
		}
		size_t collated = place.len;
		buf_append_slice(&place, id);
		buf_append_byte(&place, 0);
		buf_append_be32(&place, i);
		buf_append_byte(&place, (uint8_t)(collated >> 8));
		buf_append_byte(&place, (uint8_t)collated);
		buf_append_be32(&list, (uint32_t)place.len);
		buf_append_slice(&list, buf_slice(&place));
		buf_clear(&s->value);
		buf_append_slice(&s->value, key);
		buf_append_slice(&s->value, value);
		store_put(s->store, STORE_INDEXES,
			  key_part(&s->key, v, PART_ROW, buf_slice(&place)), buf_slice(&s->value));
		v->rows++;
	}
	if (list.len > 0)
		store_put(s->store, STORE_INDEXES, key_part(&s->key, v, PART_DOCUMENT, id),
			  buf_slice(&list));
	buf_close(&list);
	buf_close(&place);
}

bool view_replace(struct storage *s, struct view *v, struct slice output, struct effects *fx)
{
	struct left_out left = {0};
	struct mp_reader r = mp_reader_of(output);
	struct slice ids = buf_slice(&v->ids);
	if (output.len > 0 && !is_output(output, v->documents))
		return false;
	(void)mp_read(&r);
	while (ids.len >= ID_HEAD_BYTES) {
		size_t len = be32_read(ids.data);
		struct slice id = slice_of(ids.data + ID_HEAD_BYTES, len);
		struct arena_mark mark = arena_mark(&s->arena);
		if (v->last > v->new_until)
			view_remove_rows(s, v, id);
		if (ids.data[4] && output.len > 0)
			put_rows(s, v, id, mp_value(&r), &left);
		arena_rewind(&s->arena, mark);
		ids = slice_of(ids.data + ID_HEAD_BYTES + len, ids.len - ID_HEAD_BYTES - len);
	}
	tell(s, v, &left, fx);
	buf_clear(&v->ids);
	v->number = v->last;
	view_save(s, v);
	return true;
}

/* ---- reading ---- */

struct reading {
	struct storage *s;
	const struct view *v;
	const struct msg_view_query *m;
	struct msg_view_query_ack *ack;
	struct store_iterator *it;
	struct buf first; /* whole keys of the range */
	struct buf end;
	size_t bytes;
	uint64_t limit;
};

static bool is_full(const struct reading *x)
{
	return x->ack->rows_count >= x->limit || x->bytes >= VIEW_PAGE_BYTES;
}

static void take_row(struct reading *x, uint32_t range, struct slice key)
{
	struct arena *arena = &x->s->arena;
	size_t before = KEY_SHARD_BYTES + sizeof x->v->signature + 1;
	struct slice value = arena_copy(arena, store_value(x->s->store, x->it));
	struct view_row *row = &x->ack->rows[x->ack->rows_count];
	struct mp_reader r = mp_reader_of(value);
	*row = (struct view_row){.range = range};
	row->place = arena_copy(arena, slice_of(key.data + before, key.len - before));
	row->key = mp_value(&r);
	struct slice rest = mp_value(&r);
	if (!x->m->no_values)
		row->value = rest;
	size_t len = row->place.len;
	const uint8_t *end = row->place.data + len;
	size_t begins = len < PLACE_TAIL_BYTES ? len : (size_t)end[-2] << 8 | end[-1];
	if (row->key.len == 0 || begins + PLACE_TAIL_BYTES >= len)
		return;
	row->id = slice_of(row->place.data + begins, len - begins - PLACE_TAIL_BYTES);
	x->bytes += len + value.len;
	x->ack->rows_count++;
}

static void move(struct reading *x, bool first)
{
	struct store *store = x->s->store;
	if (!x->m->descending && first)
		store_seek(store, x->it, buf_slice(&x->first));
	else if (!x->m->descending)
		store_next(store, x->it);
	else
		store_seek_before(store, x->it, buf_slice(&x->end));
}

static void read_range(struct reading *x, uint32_t index)
{
	const struct view_range *range = &x->m->ranges[index];
	key_part(&x->first, x->v, PART_ROW, range->first);
	if (range->end.len > 0)
		key_part(&x->end, x->v, PART_ROW, range->end);
	else
		key_part(&x->end, x->v, PART_END, slice_of(NULL, 0));
	for (move(x, true); !is_full(x) && store_valid(x->s->store, x->it); move(x, false)) {
		struct slice key = store_key(x->s->store, x->it);
		if (slice_compare(key, buf_slice(&x->first)) < 0 ||
		    slice_compare(key, buf_slice(&x->end)) >= 0)
			break;
		key = arena_copy(&x->s->arena, key);
		take_row(x, index, key);
		if (!x->m->descending)
			continue;
		buf_clear(&x->end);
		buf_append_slice(&x->end, key);
	}
}

void view_answer(struct storage *s, const struct view *v, const struct msg_view_query *m,
		 struct msg_view_query_ack *ack)
{
	struct reading x = {.s = s, .v = v, .m = m, .ack = ack};
	x.limit = m->limit < VIEW_PAGE_ROWS ? m->limit : VIEW_PAGE_ROWS;
	x.it = store_iterate(s->store, STORE_INDEXES);
	ack->rows = arena_alloc(&s->arena, (x.limit + 1) * sizeof *ack->rows);
	for (uint32_t i = 0; i < m->ranges_count && !is_full(&x); i++)
		read_range(&x, i);
	ack->more = is_full(&x) && m->limit > 0;
	ack->total = v->rows;
	ack->number = v->stored;
	if (store_iterator_result(s->store, x.it) != STORE_OK)
		ack->status = STATUS_INTERNAL;
	store_iterator_free(s->store, x.it);
	buf_close(&x.first);
	buf_close(&x.end);
}
