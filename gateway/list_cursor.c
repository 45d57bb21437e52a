/* The cursor: form, digest of the list, the last row's values under the order, its id. Whoever
 * sends it back with another query or order would get rows left out, so it is refused. */
#include "gateway/list.h"

#include "common/doc/revision.h"
#include "gateway/url.h"
#include "proto/msgpack.h"

enum {
	CURSOR_DIGEST_BYTES = 8,
	CURSOR_HEAD_BYTES = 1 + CURSOR_DIGEST_BYTES,
	CURSOR_ID_BYTES_MAX = LIMIT_ID_BYTES + LIMIT_NAME_BYTES + 1
};

/* So that another form can follow. */
static const char cursor_form = '2';

static void add_part(struct buf *out, struct slice part)
{
	buf_append_be32(out, (uint32_t)part.len);
	buf_append_slice(out, part);
}

static void digest_list(struct turn *t, const struct request *r, const struct list_params *params,
			uint8_t out[16])
{
	struct buf *all = &t->gw->scratch;
	buf_clear(all);
	add_part(all, system_collection(r));
	add_part(all, r->collection);
	add_part(all, params->filter);
	for (uint32_t i = 0; i < params->order.count; i++)
		add_part(all, params->order.texts[i]);
	digest16(buf_slice(all), out);
}

void list_cursor_print(struct turn *t, struct request *r, const struct list_params *params,
		       const struct list_key *last, struct buf *out)
{
	struct buf bytes = {0};
	uint8_t digest[16];
	digest_list(t, r, params, digest);
	buf_append_byte(&bytes, (uint8_t)cursor_form);
	buf_append(&bytes, digest, CURSOR_DIGEST_BYTES);
	for (uint32_t i = 0; i < params->order.count; i++)
		add_part(&bytes,
			 i < last->order_keys_count ? last->order_keys[i] : slice_of("\xc0", 1));
	buf_append_slice(&bytes, last->id);
	base64url_encode(buf_slice(&bytes), out);
	buf_close(&bytes);
}

/* The next value; false if it is not all there. */
static bool take_key(struct slice *rest, struct slice *key)
{
	if (rest->len < 4)
		return false;
	uint32_t len = be32_read(rest->data);
	if (len > LIMIT_ORDER_KEY_BYTES || len > rest->len - 4)
		return false;
	*key = slice_of(rest->data + 4, len);
	*rest = slice_of(rest->data + 4 + len, rest->len - 4 - len);
	return mp_valid(*key);
}

bool list_cursor_parse(struct turn *t, struct request *r, struct slice text,
		       struct list_params *params)
{
	struct buf bytes = {0};
	uint8_t digest[16];
	bool fine = base64url_decode(text, &bytes) && bytes.len > CURSOR_HEAD_BYTES;
	struct slice all = fine ? arena_copy(&r->arena, buf_slice(&bytes)) : slice_of(NULL, 0);
	buf_close(&bytes);
	digest_list(t, r, params, digest);
	if (!fine || all.data[0] != (uint8_t)cursor_form ||
	    memcmp(all.data + 1, digest, CURSOR_DIGEST_BYTES) != 0)
		return false;
	struct slice rest = slice_of(all.data + CURSOR_HEAD_BYTES, all.len - CURSOR_HEAD_BYTES);
	struct slice *keys =
	    arena_alloc(&r->arena, (params->order.count + 1) * sizeof(struct slice));
	for (uint32_t i = 0; i < params->order.count; i++)
		if (!take_key(&rest, &keys[i]))
			return false;
	params->after = (struct list_key){rest, keys, params->order.count};
	if (r->collection.len > 0)
		return document_id_valid(rest);
	return rest.len > 0 && rest.len <= CURSOR_ID_BYTES_MAX;
}
