#include "gateway/position.h"

#include <inttypes.h>

#include "gateway/url.h"

enum { ITEM_BYTES = 16 };

/* The text's form, so that another one can follow. */
static const uint8_t form = '1';

void position_print(const struct position_of *list, uint32_t count, struct buf *out)
{
	struct buf bytes = {0};
	buf_append_byte(&bytes, form);
	for (uint32_t i = 0; i < count; i++) {
		buf_append_be64(&bytes, list[i].shard);
		buf_append_be64(&bytes, list[i].number);
	}
	base64url_encode(buf_slice(&bytes), out);
	buf_close(&bytes);
}

bool position_parse(struct slice text, struct buf *list)
{
	struct buf bytes = {0};
	bool fine = text.len <= (size_t)2 * POSITION_SHARDS_MAX * ITEM_BYTES &&
		    base64url_decode(text, &bytes) && bytes.len > 0 && bytes.data[0] == form &&
		    (bytes.len - 1) % ITEM_BYTES == 0;
	for (size_t at = 1; fine && at < bytes.len; at += ITEM_BYTES) {
		struct position_of item = {be64_read(bytes.data + at),
					   be64_read(bytes.data + at + 8)};
		buf_append(list, &item, sizeof item);
	}
	buf_close(&bytes);
	return fine;
}

uint32_t position_count(const struct buf *list)
{
	return (uint32_t)(list->len / sizeof(struct position_of));
}

struct position_of position_at(const struct buf *list, uint32_t index)
{
	struct position_of item;
	memcpy(&item, list->data + (size_t)index * sizeof item, sizeof item);
	return item;
}

void sequence_print(const struct position_of *list, uint32_t count, struct buf *out)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < count; i++)
		sum += list[i].number;
	buf_printf(out, "%" PRIu64 "-", sum);
	position_print(list, count, out);
}

bool sequence_parse(struct slice text, struct buf *list)
{
	size_t digits = 0;
	if (text.len >= 2 && text.data[0] == '"' && text.data[text.len - 1] == '"')
		text = slice_of(text.data + 1, text.len - 2);
	while (digits < text.len && text.data[digits] >= '0' && text.data[digits] <= '9')
		digits++;
	if (digits > 0 && digits < text.len && text.data[digits] == '-')
		text = slice_of(text.data + digits + 1, text.len - digits - 1);
	return position_parse(text, list);
}
