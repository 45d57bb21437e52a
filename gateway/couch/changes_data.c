/* Data of attachments in a feed that has begun: rows are kept with marks, for which contents are
 * read, in their turn, as the client takes what is before them. */
#include "gateway/couch/attachments.h"
#include "gateway/couch/changes.h"

static void data_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct changes *op = r->op;
	struct changes_data *d = &op->data_read;
	(void)index;
	op->heard_ms = t->now_ms;
	d->asked = false;
	status = content_reader_take(&d->reader, status, body, &op->ready);
	if (status != STATUS_OK) {
		changes_fail(t, r, status);
		return;
	}
	if (content_reader_ended(&d->reader)) {
		content_reader_close(&d->reader);
		d->reads = false;
	}
	changes_flush(t, r, true);
}

static void begin(struct changes_data *d, const struct couch_data *data)
{
	buf_clear(&d->document);
	buf_append_slice(&d->document, data->document);
	d->reads = true;
	d->reader = (struct content_reader){
	    .document = buf_slice(&d->document), .count = data->length, .base64 = true};
	memcpy(d->reader.content, data->content, sizeof data->content);
}

enum status changes_fill(struct turn *t, struct request *r)
{
	struct changes *op = r->op;
	struct changes_data *d = &op->data_read;
	while (!d->asked && op->ready.len < CHANGES_FLUSH_BYTES) {
		struct slice rest = slice_of(op->out.data + d->at, op->out.len - d->at);
		struct slice text;
		struct couch_data data;
		/* who takes nothing holds nothing here, either */
		if (d->reads && op->ready.len > 0)
			break;
		if (d->reads) {
			d->asked = true;
			op->heard_ms = t->now_ms;
			return content_reader_ask(t, r, &d->reader, data_came);
		}
		if (rest.len == 0) {
			buf_close(&op->out);
			d->at = 0;
			break;
		}
		if (couch_data_next(&rest, &text, &data) && data.length > 0)
			begin(d, &data);
		buf_append_slice(&op->ready, text);
		d->at = op->out.len - rest.len;
	}
	return STATUS_OK;
}

void changes_data_close(struct changes *op)
{
	content_reader_close(&op->data_read.reader);
	buf_close(&op->data_read.document);
	buf_close(&op->ready);
}
