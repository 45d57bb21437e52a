/* Rows of a view in groups. Those that built-in functions reduce are taken one by one. For a
 * function of the design document's own they are gathered into parts, and workers reduce those;
 * what is made of parts of one group is reduced again, so that no group has to be held as a whole.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/json.h"
#include "common/doc/script_answer.h"
#include "common/doc/view_script.h"
#include "gateway/couch/view_private.h"
#include "gateway/script_runs.h"
#include "proto/msgpack.h"

enum {
	PART_ROWS = 2000,
	PART_BYTES = 256 * 1024,
	PARTS_MAX = 2000, /* of a run */
	PARTS_BYTES = 1024 * 1024,
	MADE_MAX = 64 /* of one line, before they are reduced again */
};

void view_reduce_close(struct view_op *op)
{
	struct view_script *s = &op->script;
	reduce_close(&op->reduce);
	buf_close(&op->group);
	buf_close(&s->keys);
	buf_close(&s->values);
	buf_close(&s->parts);
	free(s->parts_lines);
	for (uint32_t i = 0; i < s->made_count; i++)
		buf_close(&s->made[i].values);
	free(s->made);
}

/* ---- parts ---- */

static void add_part(struct view_script *s, uint32_t line, struct slice keys, struct slice values)
{
	if (!s->parts_lines)
		s->parts_lines = mem_alloc(PARTS_MAX * sizeof *s->parts_lines);
	CHECK(s->parts_count < PARTS_MAX);
	s->parts_lines[s->parts_count++] = line;
	buf_append_text(&s->parts, s->parts.len > 0 ? ",[" : "[");
	if (keys.len > 0) {
		buf_append_byte(&s->parts, '[');
		buf_append_slice(&s->parts, keys);
		buf_append_text(&s->parts, "],[");
	} else {
		buf_append_text(&s->parts, "null,[");
	}
	buf_append_slice(&s->parts, values);
	buf_append_text(&s->parts, keys.len > 0 ? "],false]" : "],true]");
}

/* The line of the group at hand is the next one. */
static void end_part(struct view_op *op)
{
	struct view_script *s = &op->script;
	if (s->rows == 0)
		return;
	add_part(s, op->lines.count, buf_slice(&s->keys), buf_slice(&s->values));
	buf_clear(&s->keys);
	buf_clear(&s->values);
	s->rows = 0;
}

static bool append_json(struct slice value, struct buf *out)
{
	if (value.len == 0)
		buf_append_text(out, "null");
	return value.len == 0 || json_from_msgpack(value, out);
}

static bool add_row(struct view_op *op, const struct view_row *row)
{
	struct view_script *s = &op->script;
	if (s->rows > 0) {
		buf_append_byte(&s->keys, ',');
		buf_append_byte(&s->values, ',');
	}
	buf_append_byte(&s->keys, '[');
	bool fine = append_json(row->key, &s->keys) && append_json(row->value, &s->values);
	buf_append_byte(&s->keys, ',');
	json_string(row->id, &s->keys);
	buf_append_byte(&s->keys, ']');
	s->rows++;
	if (s->rows == PART_ROWS || s->keys.len + s->values.len > PART_BYTES)
		end_part(op);
	return fine;
}

static struct view_made *made_of(struct view_script *s, uint32_t line)
{
	if (line >= s->made_cap) {
		s->made_cap = line < 32 ? 64 : 2 * line;
		s->made = mem_realloc(s->made, s->made_cap * sizeof *s->made);
	}
	while (s->made_count <= line)
		s->made[s->made_count++] = (struct view_made){0};
	return &s->made[line];
}

/* Reduces again what there is of lines that have more than `most`. */
static void add_again(struct view_script *s, uint32_t most)
{
	for (uint32_t i = 0; i < s->made_count && s->parts_count < PARTS_MAX; i++) {
		struct view_made *m = &s->made[i];
		if (m->count <= most || s->parts.len > PARTS_BYTES)
			continue;
		add_part(s, i, slice_of(NULL, 0), buf_slice(&m->values));
		s->made_bytes -= m->values.len;
		buf_clear(&m->values);
		m->count = 0;
	}
}

/* ---- workers ---- */

static void refuse(struct turn *t, struct request *r, struct slice why)
{
	struct problem problem;
	char text[PLACE_BYTES];
	why = script_text(why);
	snprintf(text, sizeof text, "%.*s", (int)(why.len < 120 ? why.len : 120),
		 why.len ? (const char *)why.data : "");
	couch_problem(&problem, COUCH_REDUCE_FAILED, text);
	answer_problem(t, r, &problem);
}

/* A value for each part. False: it is another thing; *why says what, if anything. */
static bool take_made(struct turn *t, struct view_op *op, struct slice output, struct slice *why)
{
	struct view_script *s = &op->script;
	struct json_error error;
	struct buf *read = &t->gw->scratch;
	struct mp_reader reader = mp_reader_of(output);
	struct mp_token text = mp_read(&reader);
	buf_clear(read);
	if (text.type != MP_STR || !json_to_msgpack(t->gw->json, text.bytes, read, &error))
		return false;
	reader = mp_reader_of(buf_slice(read));
	struct mp_token head = mp_read(&reader);
	*why = head.bytes;
	if (head.type != MP_ARRAY || head.count != s->parts_count)
		return false;
	for (uint32_t i = 0; i < head.count; i++) {
		struct view_made *m = made_of(s, s->parts_lines[i]);
		size_t before = m->values.len;
		if (m->count++ > 0)
			buf_append_byte(&m->values, ',');
		if (!json_from_msgpack(mp_value(&reader), &m->values))
			return false;
		s->made_bytes += m->values.len - before;
	}
	return true;
}

static void reduced(struct turn *t, struct request *r, const void *context,
		    const struct script_end *end)
{
	struct view_op *op = r->op;
	struct view_script *s = &op->script;
	struct slice why = {0};
	(void)context;
	s->running = false;
	if (end->status == SCRIPT_BUSY || end->status == SCRIPT_UNAVAILABLE) {
		answer_status(t, r, STATUS_OVERLOADED, "");
		return;
	}
	if (end->status != SCRIPT_OK) {
		refuse(t, r, end->output);
		return;
	}
	if (!take_made(t, op, end->output, &why)) {
		refuse(t, r, why);
		return;
	}
	s->parts_count = 0;
	buf_clear(&s->parts);
	add_again(s, MADE_MAX);
	if (s->made_bytes > t->gw->options.limits.list_bytes_max)
		view_too_large(t, r, s->made_bytes);
	else
		view_advance(t, r);
}

static void run(struct turn *t, struct request *r)
{
	struct view_op *op = r->op;
	struct view_script *s = &op->script;
	struct buf arguments = {0};
	struct buf parts = {0};
	buf_append_byte(&parts, '[');
	buf_append_slice(&parts, buf_slice(&s->parts));
	buf_append_byte(&parts, ']');
	mp_write_array(&arguments, 3);
	mp_write_str(&arguments, op->design.reduce);
	mp_write_str(&arguments, op->design.library);
	mp_write_str(&arguments, buf_slice(&parts));
	struct script_asked asked = {.source = slice_text(view_reduce_source),
				     .arguments = buf_slice(&arguments),
				     .done = reduced};
	s->running = script_run(t, r, &asked);
	if (!s->running)
		answer_status(t, r, STATUS_OVERLOADED, "");
	buf_close(&parts);
	buf_close(&arguments);
}

bool view_reduce_awaits(struct turn *t, struct request *r, bool all_rows)
{
	struct view_op *op = r->op;
	struct view_script *s = &op->script;
	if (s->running)
		return true;
	if (all_rows && s->parts_count == 0)
		add_again(s, 1);
	/* a row may end two parts */
	bool due = s->parts.len > PARTS_BYTES || s->parts_count >= PARTS_MAX - 2;
	if (due || (all_rows && s->parts_count > 0)) {
		run(t, r);
		return true;
	}
	for (uint32_t i = 0; all_rows && i < op->lines.count; i++)
		op->lines.list[i].value = buf_slice(&made_of(s, i)->values);
	return false;
}

/* ---- groups ---- */

/* The key, or the first elements of one that is an array; without groups nothing. */
static void write_group(const struct view_op *op, struct slice key, struct buf *out)
{
	struct mp_reader reader = mp_reader_of(key);
	struct mp_token head = mp_read(&reader);
	if (!op->params.grouped) {
		mp_write_nil(out);
	} else if (head.type == MP_ARRAY && head.count > op->params.group_level) {
		mp_write_array(out, (uint32_t)op->params.group_level);
		for (uint64_t i = 0; i < op->params.group_level; i++)
			buf_append_slice(out, mp_value(&reader));
	} else {
		buf_append_slice(out, key);
	}
}

static bool same_order(const struct view_op *op, struct slice a, struct slice b)
{
	struct buf x = {0};
	struct buf y = {0};
	bool same = slice_equal(a, b) ||
		    (collation_key(op->order, a, &x) && collation_key(op->order, b, &y) &&
		     slice_equal(buf_slice(&x), buf_slice(&y)));
	buf_close(&x);
	buf_close(&y);
	return same;
}

void view_reduce_end_group(struct turn *t, struct request *r)
{
	struct view_op *op = r->op;
	struct view_line line = {.key = buf_slice(&op->group)};
	struct buf *out = &t->gw->scratch;
	if (!op->in_group)
		return;
	buf_clear(out);
	if (op->kind == REDUCE_SCRIPT)
		end_part(op);
	else
		reduce_print(&op->reduce, out);
	line.value = buf_slice(out);
	view_add_line(r, op, &line);
	op->in_group = false;
}

static void begin_group(struct view_op *op, struct slice group, uint32_t range)
{
	reduce_begin(&op->reduce, op->kind, op->order);
	buf_clear(&op->group);
	buf_append_slice(&op->group, group);
	op->in_group = !view_is_full(op);
	op->range = range;
}

bool view_reduce_row(struct turn *t, struct request *r, const struct view_row *row, uint32_t range)
{
	struct view_op *op = r->op;
	struct buf group = {0};
	write_group(op, row->key, &group);
	bool same = op->in_group && (range == op->range || !op->params.grouped) &&
		    same_order(op, buf_slice(&group), buf_slice(&op->group));
	if (!same) {
		view_reduce_end_group(t, r);
		begin_group(op, buf_slice(&group), range);
	}
	buf_close(&group);
	if (!op->in_group)
		return true;
	if (op->kind != REDUCE_SCRIPT)
		return reduce_add(&op->reduce, row->key, row->value);
	/* nothing is to be known of groups that are skipped */
	return op->skip > 0 || add_row(op, row);
}
