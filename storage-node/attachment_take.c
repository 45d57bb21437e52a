/* What a write says of attachments: do its contents exist, and may they be counted on? */
#include "common/doc/attachment.h"

#include "common/doc/graph.h"
#include "common/doc/value.h"
#include "storage-node/attachment.h"

struct taking {
	struct document_view *view;
	struct slice parent; /* attachments of the parent */
	bool parent_gone;    /* its body is not kept */
	uint64_t generation;
	struct attachments_taken *out;
};

static bool is_stub(struct slice value)
{
	struct mp_reader reader = mp_reader_of(value_member(value, slice_text("stub")));
	struct mp_token token = mp_read(&reader);
	return token.type == MP_BOOL && token.flag;
}

static void add_upload(struct taking *t, struct slice id)
{
	struct attachments_taken *out = t->out;
	for (uint32_t i = 0; i < out->uploads_count; i++)
		if (slice_equal(out->uploads[i], id))
			return;
	out->uploads[out->uploads_count++] = arena_copy(&t->view->storage->arena, id);
}

/* Content that has come for this write. It is looked for in what is applied: its gateway has heard
 * that it is. named: what it shall be; empty: it was not said. */
static enum status take_upload(struct taking *t, struct slice text, struct slice named,
			       struct attachment_stub *stub)
{
	struct storage *s = t->view->storage;
	struct shard_copy *c = t->view->copy;
	uint8_t id[UPLOAD_BYTES];
	struct upload upload;
	struct attachment a;
	if (!attachment_hex(text, id, sizeof id))
		return STATUS_BAD_ATTACHMENT;
	/* an entry under way may drop it */
	if (attachment_drop_pending(c) && !MUTATION(drop_overlooked)) {
		REACHED(write_awaits_drop);
		return STATUS_NO_LEAD;
	}
	struct slice name = slice_of(id, sizeof id);
	if (!attachment_load_upload(s, c, name, &upload) || upload.content.len != CONTENT_BYTES ||
	    !attachment_load(s, c, upload.content, &a) || a.source == 0 || a.md5.len != MD5_BYTES)
		return STATUS_TIMED_OUT;
	uint8_t content[CONTENT_BYTES];
	if (named.len > 0 && (!attachment_hex(named, content, sizeof content) ||
			      memcmp(content, upload.content.data, sizeof content) != 0))
		return STATUS_BAD_ATTACHMENT;
	struct buf digest = {0};
	attachment_digest(a.md5.data, &digest);
	stub->digest = arena_copy(&s->arena, buf_slice(&digest));
	buf_close(&digest);
	stub->length = a.length;
	if (stub->revpos == 0 || stub->revpos > t->generation)
		stub->revpos = t->generation;
	memcpy(stub->content, upload.content.data, CONTENT_BYTES);
	add_upload(t, name);
	return STATUS_OK;
}

/* Attachments that stubs may stand for. Who was offline for so long that the content of what was
 * edited is gone may still name what the current version has: a content's name says all of it. */
static struct slice attachments_there(const struct taking *t)
{
	struct document_view *v = t->view;
	int winner = t->parent_gone && v->exists ? graph_winner(&v->doc) : GRAPH_NONE;
	return winner == GRAPH_NONE ? t->parent
				    : attachments_of(document_body(v, (uint32_t)winner));
}

/* What there is under this name, or under another one. */
static bool find_content(const struct taking *t, struct attachment_stub *stub)
{
	struct attachment_stub there;
	struct slice name = stub->name;
	struct slice type = stub->type;
	struct slice all = attachments_there(t);
	bool here = attachment_find(all, name, &there) &&
		    memcmp(there.content, stub->content, CONTENT_BYTES) == 0;
	bool found = here;
	struct attachments walk = attachments_begin(all);
	while (!found && attachments_next(&walk, &there))
		found = memcmp(there.content, stub->content, CONTENT_BYTES) == 0;
	if (!found)
		return false;
	*stub = there;
	stub->name = name;
	stub->type = type;
	if (!here)
		stub->revpos = t->generation;
	return true;
}

/* What an upload shall be. Where a patch has put it in the place of another attachment, the rest of
 * that is there still, and says nothing of it. */
static struct slice demanded(struct slice value)
{
	bool replaces = value_text_member(value, "digest").len > 0;
	return replaces ? slice_of(NULL, 0) : value_text_member(value, "content");
}

static enum status take_one(struct taking *t, struct slice name, struct slice value, struct buf *to)
{
	struct attachment_stub stub;
	struct slice upload = value_text_member(value, "upload");
	enum status status = STATUS_OK;
	if (upload.len > 0) {
		stub = (struct attachment_stub){.type = value_text_member(value, "content_type"),
						.revpos = value_number_member(value, "revpos")};
		status = take_upload(t, upload, demanded(value), &stub);
	} else if (attachment_parse(value, &stub)) {
		stub.name = name;
		status = find_content(t, &stub) ? STATUS_OK : STATUS_MISSING_ATTACHMENT;
	} else if (is_stub(value)) {
		status =
		    attachment_find(t->parent, name, &stub) ? STATUS_OK : STATUS_MISSING_ATTACHMENT;
	} else {
		status = STATUS_BAD_ATTACHMENT;
	}
	if (status != STATUS_OK) {
		t->out->wrong = name;
		return status;
	}
	mp_write_str(to, name);
	attachment_write(&stub, to);
	return STATUS_OK;
}

static enum status take_all(struct taking *t, struct slice member, struct buf *to, uint32_t *count)
{
	struct mp_reader reader = mp_reader_of(member);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_MAP || head.count > LIMIT_ATTACHMENTS)
		return STATUS_BAD_ATTACHMENT;
	*count = head.count;
	t->out->uploads =
	    arena_alloc(&t->view->storage->arena, (head.count + 1) * sizeof *t->out->uploads);
	mp_write_map(to, head.count);
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token name = mp_read(&reader);
		enum status status = take_one(t, name.bytes, mp_value(&reader), to);
		if (status != STATUS_OK)
			return status;
	}
	return STATUS_OK;
}

/* The body, with this in place of its member; an empty map is none. */
static struct slice body_with(struct taking *t, struct slice body, struct slice member,
			      uint32_t count)
{
	struct buf out = {0};
	struct mp_reader reader = mp_reader_of(body);
	uint32_t members = mp_read(&reader).count;
	mp_write_map(&out, count > 0 ? members : members - 1);
	for (uint32_t i = 0; i < members; i++) {
		struct mp_token name = mp_read(&reader);
		struct slice value = mp_value(&reader);
		bool is = slice_is(name.bytes, ATTACHMENTS_MEMBER);
		if (is && count == 0)
			continue;
		mp_write_str(&out, name.bytes);
		buf_append_slice(&out, is ? member : value);
	}
	struct slice copy = arena_copy(&t->view->storage->arena, buf_slice(&out));
	buf_close(&out);
	return copy;
}

enum status attachments_take(struct document_view *v, struct slice body, struct slice parent,
			     uint64_t generation, struct attachments_taken *out)
{
	struct taking t = {.view = v,
			   .parent = attachments_of(parent),
			   .parent_gone = parent.len == 0,
			   .generation = generation,
			   .out = out};
	struct slice member = attachments_of(body);
	uint32_t count = 0;
	*out = (struct attachments_taken){.body = body};
	if (member.len == 0)
		return STATUS_OK;
	struct buf to = {0};
	enum status status = take_all(&t, member, &to, &count);
	if (status == STATUS_OK)
		out->body = body_with(&t, body, buf_slice(&to), count);
	if (status == STATUS_OK && out->body.len > LIMIT_BODY_BYTES)
		status = STATUS_BODY_TOO_LARGE;
	buf_close(&to);
	return status;
}

static void look_for_contents(struct attachments_wanted *wanted, struct slice body)
{
	struct attachment_stub stub;
	struct attachments walk = attachments_begin(attachments_of(body));
	while (attachments_next(&walk, &stub))
		for (uint32_t i = 0; i < wanted->count; i++)
			wanted->found[i] |=
			    memcmp(wanted->stubs[i].content, stub.content, CONTENT_BYTES) == 0;
}

bool attachments_stay(struct storage *s, struct shard_copy *c, const struct change *change)
{
	struct attachments_wanted wanted;
	struct document_view v;
	if (change->uploads_count > 0)
		return false;
	if (attachments_of(change->body).len == 0 || MUTATION(branch_of_old_content))
		return true;
	document_load(s, c, change->id, &v);
	if (!v.exists || !attachments_want(change->body, &s->arena, &wanted))
		return false;
	int winner = graph_winner(&v.doc);
	for (uint32_t i = 0; i < v.doc.revisions_count; i++)
		if (graph_is_leaf(&v.doc, i))
			look_for_contents(&wanted, document_body_beside(&v, i, winner));
	return attachments_all_found(&wanted);
}

bool attachments_known(struct document_view *v, struct slice body, struct slice *wrong)
{
	struct attachments_wanted wanted;
	bool known = attachments_want(body, &v->storage->arena, &wanted);
	int winner = graph_winner(&v->doc);
	for (uint32_t i = 0; known && wanted.count > 0 && i < v->doc.revisions_count; i++)
		if (v->doc.revisions[i].flags & REVISION_HAS_BODY)
			attachments_look(&wanted, document_body_beside(v, i, winner));
	known = known && attachments_all_found(&wanted);
	*wrong = wanted.wrong;
	return known;
}
