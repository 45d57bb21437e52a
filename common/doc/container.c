#include "common/doc/container.h"

#include <string.h>

#include "proto/msgpack.h"

/* The longest head: one byte and a 32-bit count. */
enum { HEAD_BYTES_MAX = 5 };

size_t container_begin(struct buf *out)
{
	size_t start = out->len;
	buf_append_byte(out, 0);
	return start;
}

static void put_head(struct buf *out, size_t start, const uint8_t *head, size_t len)
{
	size_t more = len - 1;
	buf_reserve(out, more);
	uint8_t *members = out->data + start + 1;
	if (more)
		memmove(members + more, members, out->len - start - 1);
	memcpy(out->data + start, head, len);
	out->len += more;
}

/* A head is written into memory of its own, which is never too small and so never grows. */
void container_end_map(struct buf *out, size_t start, uint32_t count)
{
	uint8_t memory[2 * HEAD_BYTES_MAX];
	struct buf head = {.data = memory, .cap = sizeof memory};
	mp_write_map(&head, count);
	put_head(out, start, head.data, head.len);
}

void container_end_array(struct buf *out, size_t start, uint32_t count)
{
	uint8_t memory[2 * HEAD_BYTES_MAX];
	struct buf head = {.data = memory, .cap = sizeof memory};
	mp_write_array(&head, count);
	put_head(out, start, head.data, head.len);
}
