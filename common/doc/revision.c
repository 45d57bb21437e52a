#include "common/doc/revision.h"

#include <openssl/sha.h>
#include <stdlib.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "proto/msgpack.h"

enum { DIGEST_BYTES = 16, FEW_PARENTS = 8 };

_Static_assert(REVISION_HASH_CHARS == 2 * DIGEST_BYTES, "a hash is the digest as hexadecimal");

/* Bytes of the decimal number at the start of text; 0 if there is none that may be a generation. */
static size_t parse_generation(struct slice text, uint64_t *generation)
{
	uint64_t value = 0;
	size_t at = 0;
	while (at < text.len && text.data[at] >= '0' && text.data[at] <= '9') {
		value = value * 10 + (uint64_t)(text.data[at] - '0');
		if (value == 0 || value > UINT32_MAX)
			return 0;
		at++;
	}
	*generation = value;
	return at;
}

bool revision_hash_ok(struct slice text)
{
	if (text.len == 0 || text.len > LIMIT_REV_HASH_BYTES)
		return false;
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] <= ' ' || text.data[i] > '~' || text.data[i] == '"' ||
		    text.data[i] == ',')
			return false;
	return true;
}

bool revision_parse(struct slice text, struct revision *out)
{
	uint64_t generation;
	size_t digits = parse_generation(text, &generation);
	if (digits == 0 || digits == text.len || text.data[digits] != '-')
		return false;
	struct slice hash = slice_of(text.data + digits + 1, text.len - digits - 1);
	if (!revision_hash_ok(hash))
		return false;
	*out = (struct revision){.generation = generation, .hash = hash};
	return true;
}

/* Decimal digits without the cost of a format string: every write prints revisions. */
void revision_print(const struct revision *r, struct buf *out)
{
	uint8_t digits[20];
	size_t at = sizeof digits;
	uint64_t left = r->generation;
	do {
		digits[--at] = (uint8_t)('0' + left % 10);
		left /= 10;
	} while (left > 0);
	buf_append(out, digits + at, sizeof digits - at);
	buf_append_byte(out, '-');
	buf_append_slice(out, r->hash);
}

bool revision_equal(const struct revision *a, const struct revision *b)
{
	return a->generation == b->generation && slice_equal(a->hash, b->hash);
}

int revision_compare(const struct revision *a, const struct revision *b)
{
	if (a->generation != b->generation)
		return a->generation < b->generation ? -1 : 1;
	return slice_compare(a->hash, b->hash);
}

int revision_compare_qsort(const void *a, const void *b)
{
	return revision_compare(a, b);
}

void revision_sort(struct revision *revisions, uint32_t count)
{
	if (count > 1)
		qsort(revisions, count, sizeof *revisions, revision_compare_qsort);
}

static void write_parents(const struct revision_content *content, struct buf *out)
{
	struct revision few[FEW_PARENTS];
	uint32_t count = content->parents_count;
	struct revision *sorted = few;
	if (count > FEW_PARENTS)
		sorted = mem_alloc(count * sizeof *sorted);
	if (count)
		memcpy(sorted, content->parents, count * sizeof *sorted);
	revision_sort(sorted, count);
	mp_write_array(out, count);
	struct buf text = {0};
	for (uint32_t i = 0; i < count; i++) {
		buf_clear(&text);
		revision_print(&sorted[i], &text);
		mp_write_str(out, buf_slice(&text));
	}
	buf_close(&text);
	if (sorted != few)
		free(sorted);
}

static uint64_t next_generation(const struct revision_content *content)
{
	uint64_t greatest = 0;
	for (uint32_t i = 0; i < content->parents_count; i++)
		if (content->parents[i].generation > greatest)
			greatest = content->parents[i].generation;
	/* A foreign revision may already stand at the end of the range: stay inside it. */
	return greatest < UINT32_MAX ? greatest + 1 : UINT32_MAX;
}

void revision_name(const struct revision_content *content, char text[REVISION_HASH_CHARS],
		   struct revision *out)
{
	static const uint8_t empty_map = 0x80;
	static const char hex[] = "0123456789abcdef";
	struct slice body = content->body.len ? content->body : slice_of(&empty_map, 1);
	struct buf form = {0};
	mp_write_array(&form, 5);
	write_parents(content, &form);
	mp_write_bool(&form, content->deleted);
	mp_write_bin(&form, body);
	mp_write_u64(&form, content->policy);
	mp_write_bin(&form, content->operation_id);
	uint8_t digest[DIGEST_BYTES];
	digest16(buf_slice(&form), digest);
	buf_close(&form);
	for (size_t i = 0; i < DIGEST_BYTES; i++) {
		text[2 * i] = hex[digest[i] >> 4];
		text[2 * i + 1] = hex[digest[i] & 15];
	}
	*out = (struct revision){.generation = next_generation(content),
				 .hash = slice_of(text, REVISION_HASH_CHARS)};
}

void digest16(struct slice bytes, uint8_t out[16])
{
	uint8_t whole[SHA256_DIGEST_LENGTH];
	CHECK(SHA256(bytes.data, bytes.len, whole) != NULL);
	memcpy(out, whole, DIGEST_BYTES);
}
