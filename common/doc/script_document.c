#include "common/doc/script_document.h"

#include "common/doc/attachment.h"
#include "common/doc/couch_name.h"
#include "common/doc/revision.h"

/* All but attachments. */
static uint32_t write_members(struct slice body, struct buf *out)
{
	struct mp_reader r = mp_reader_of(body);
	struct mp_token head = mp_read(&r);
	struct buf scratch = {0};
	uint32_t count = 0;
	for (uint32_t i = 0; head.type == MP_MAP && i < head.count; i++) {
		struct slice name = mp_read(&r).bytes;
		struct slice value = mp_value(&r);
		if (slice_is(name, ATTACHMENTS_MEMBER))
			continue;
		mp_write_str(out, couch_name_shown(name, &scratch));
		buf_append_slice(out, value);
		count++;
	}
	buf_close(&scratch);
	return count;
}

static uint32_t write_stubs(struct slice member, struct buf *out)
{
	struct attachments walk = attachments_begin(member);
	struct attachment_stub stub;
	uint32_t count = 0;
	for (; attachments_next(&walk, &stub); count++) {
		mp_write_str(out, stub.name);
		mp_write_map(out, 5);
		mp_write_text(out, "content_type");
		mp_write_str(out, stub.type);
		mp_write_text(out, "revpos");
		mp_write_u64(out, stub.revpos);
		mp_write_text(out, "digest");
		mp_write_str(out, stub.digest);
		mp_write_text(out, "length");
		mp_write_u64(out, stub.length);
		mp_write_text(out, "stub");
		mp_write_bool(out, true);
	}
	return count;
}

static uint32_t write_attachments(struct slice body, struct buf *out)
{
	struct slice member = attachments_of(body);
	struct buf stubs = {0};
	uint32_t count = member.len > 0 ? write_stubs(member, &stubs) : 0;
	if (count > 0) {
		mp_write_text(out, ATTACHMENTS_MEMBER);
		mp_write_map(out, count);
		buf_append_slice(out, buf_slice(&stubs));
	}
	buf_close(&stubs);
	return count > 0;
}

uint32_t script_document_members(struct slice body, struct buf *out)
{
	return write_members(body, out) + write_attachments(body, out);
}

void script_document_write(const struct script_document *d, struct buf *out)
{
	struct buf members = {0};
	struct buf name = {0};
	uint32_t count = script_document_members(d->body, &members);
	bool named = d->revision.generation > 0;
	mp_write_map(out, count + 1 + named + d->deleted + d->more_count);
	mp_write_text(out, "_id");
	mp_write_str(out, d->id);
	if (named) {
		revision_print(&d->revision, &name);
		mp_write_text(out, "_rev");
		mp_write_str(out, buf_slice(&name));
	}
	if (d->deleted) {
		mp_write_text(out, "_deleted");
		mp_write_bool(out, true);
	}
	buf_append_slice(out, buf_slice(&members));
	buf_append_slice(out, d->more);
	buf_close(&name);
	buf_close(&members);
}
