#include "gateway/index_params.h"

#include <stdio.h>

#include "common/doc/index_key.h"
#include "gateway/url.h"

/* ---- requests ---- */

static bool fail(struct problem *p, enum status status, const char *place, const char *member,
		 const char *detail)
{
	char where[PLACE_BYTES];
	snprintf(where, sizeof where, "%.80s%s", place, member);
	return problem_detail(p, status, where, detail);
}

static bool take_name(struct slice value, const char *place, struct slice *out, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (token.type != MP_STR)
		return fail(p, STATUS_WRONG_TYPE, place, "/name", "A string.");
	if (!collection_name_valid(token.bytes))
		return fail(p, STATUS_BAD_PARAMETER, place, "/name",
			    "1 to 64 characters of a-z, A-Z, 0-9, dot and dash.");
	/* index=none: without any; id: what X-Parley-Index says of documents looked up by id */
	if (slice_is(token.bytes, "none") || slice_is(token.bytes, "id"))
		return fail(p, STATUS_BAD_PARAMETER, place, "/name", "Any name but none and id.");
	*out = token.bytes;
	return true;
}

static bool take_fields(struct request *r, struct slice value, const char *place,
			struct index_definition *out, struct problem *p)
{
	struct text_list fields;
	struct index_fields compiled;
	if (!native_text_list(r, value, LIMIT_INDEX_FIELDS, LIMIT_PATH_BYTES, &fields) ||
	    fields.count == 0)
		return fail(p, STATUS_BAD_PARAMETER, place, "/fields",
			    "An array of 1 to 8 paths, each a string of at most 1024 bytes.");
	if (!index_fields_compile(fields.texts, fields.count, &r->arena, &compiled))
		return fail(p, STATUS_BAD_PARAMETER, place, "/fields",
			    "A path has at most 20 names.");
	for (uint32_t i = 0; i < fields.count; i++)
		for (uint32_t k = 0; k < i; k++)
			if (slice_equal(fields.texts[i], fields.texts[k]))
				return fail(p, STATUS_BAD_PARAMETER, place, "/fields",
					    "Each path once.");
	out->fields = fields.texts;
	out->fields_count = fields.count;
	return true;
}

bool index_take(struct request *r, struct slice value, const char *place,
		struct index_definition *out, struct problem *p)
{
	*out = (struct index_definition){0};
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_MAP)
		return fail(p, STATUS_WRONG_TYPE, place, "", "An index is a JSON object.");
	for (uint32_t i = 0; i < head.count; i++) {
		struct slice name = mp_read(&reader).bytes;
		if (!slice_is(name, "name") && !slice_is(name, "fields"))
			return fail(p, STATUS_BAD_PARAMETER, place, "",
				    "An index has a name and fields, nothing else.");
		(void)mp_value(&reader);
	}
	return take_name(value_member(value, slice_text("name")), place, &out->name, p) &&
	       take_fields(r, value_member(value, slice_text("fields")), place, out, p);
}

bool index_take_list(struct request *r, struct slice value, struct collection *out,
		     struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_ARRAY)
		return problem_detail(p, STATUS_WRONG_TYPE, "/indexes", "An array of indexes.");
	if (head.count > LIMIT_INDEXES)
		return problem_limit(p, STATUS_BAD_PARAMETER, "/indexes", LIMIT_INDEXES,
				     head.count);
	out->indexes = arena_alloc(&r->arena, (head.count + 1) * sizeof *out->indexes);
	for (uint32_t i = 0; i < head.count; i++) {
		char place[32];
		snprintf(place, sizeof place, "/indexes/%u", i);
		struct index_definition *index = &out->indexes[i];
		if (!index_take(r, mp_value(&reader), place, index, p))
			return false;
		for (uint32_t k = 0; k < i; k++)
			if (slice_equal(out->indexes[k].name, index->name))
				return fail(p, STATUS_BAD_PARAMETER, place, "/name",
					    "Each name once.");
		out->indexes_count++;
	}
	return true;
}

/* ---- answers ---- */

void index_print(const struct index_definition *index, struct buf *out)
{
	buf_append_text(out, "\"name\":");
	json_string(index->name, out);
	buf_append_text(out, ",\"fields\":[");
	for (uint32_t i = 0; i < index->fields_count; i++) {
		if (i > 0)
			buf_append_byte(out, ',');
		json_string(index->fields[i], out);
	}
	buf_append_byte(out, ']');
}

void index_print_list(const struct collection *settings, struct buf *out)
{
	buf_append_byte(out, '[');
	for (uint32_t i = 0; i < settings->indexes_count; i++) {
		buf_append_text(out, i > 0 ? ",{" : "{");
		index_print(&settings->indexes[i], out);
		buf_append_byte(out, '}');
	}
	buf_append_byte(out, ']');
}

void index_write_list(const struct collection *settings, struct buf *out)
{
	mp_write_array(out, settings->indexes_count);
	for (uint32_t i = 0; i < settings->indexes_count; i++) {
		const struct index_definition *index = &settings->indexes[i];
		mp_write_map(out, 2);
		mp_write_text(out, "name");
		mp_write_str(out, index->name);
		mp_write_text(out, "fields");
		mp_write_array(out, index->fields_count);
		for (uint32_t k = 0; k < index->fields_count; k++)
			mp_write_str(out, index->fields[k]);
	}
}
