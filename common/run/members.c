#include "common/run/members.h"

#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

#include "common/base/memory.h"
#include "common/run/yaml_file.h"

struct row_yaml {
	uint64_t id;
	char *name;
	char *role;
	char *public_key;
	char *address;
	char *source;
};

struct members_yaml {
	char *cluster;
	struct row_yaml *members;
	unsigned members_count;
};

static const cyaml_schema_field_t row_fields[] = {
    CYAML_FIELD_UINT("id", CYAML_FLAG_DEFAULT, struct row_yaml, id),
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct row_yaml, name, 1, LIMIT_NAME_BYTES),
    CYAML_FIELD_STRING_PTR("role", CYAML_FLAG_POINTER, struct row_yaml, role, 1, 32),
    CYAML_FIELD_STRING_PTR("public_key", CYAML_FLAG_POINTER, struct row_yaml, public_key,
			   MEMBER_KEY_CHARS, MEMBER_KEY_CHARS),
    CYAML_FIELD_STRING_PTR("address", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct row_yaml,
			   address, 0, MEMBER_ADDRESS_BYTES - 1),
    CYAML_FIELD_STRING_PTR("source", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct row_yaml,
			   source, 0, MEMBER_ADDRESS_BYTES - 1),
    CYAML_FIELD_END};

static const cyaml_schema_value_t row_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct row_yaml, row_fields)};

static const cyaml_schema_field_t list_fields[] = {
    CYAML_FIELD_STRING_PTR("cluster", CYAML_FLAG_POINTER, struct members_yaml, cluster, 1, 32),
    CYAML_FIELD_SEQUENCE("members", CYAML_FLAG_POINTER, struct members_yaml, members, &row_schema,
			 1, LIMIT_MEMBERS),
    CYAML_FIELD_END};

static const cyaml_schema_value_t list_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct members_yaml, list_fields)};

static const char *const role_names[ROLE_MAX + 1] = {"none", "gateway", "storage", "coordinator",
						     "arbiter"};

const char *role_name(enum role role)
{
	return role <= ROLE_MAX ? role_names[role] : "none";
}

static enum role role_of(const char *name)
{
	for (int i = ROLE_GATEWAY; i <= ROLE_MAX; i++)
		if (strcmp(name, role_names[i]) == 0)
			return (enum role)i;
	return ROLE_NONE;
}

/* What checking needs to say where. */
struct place {
	const char *path;
	const struct buf *text;
	struct buf *problem;
};

/* The last of several equal lines is the one at fault. */
static bool wrong(const struct place *at, const char *key, const char *value, const char *why)
{
	yaml_append_place(at->problem, at->path, yaml_where(at->text, key, value, 0));
	buf_printf(at->problem, "%s \"", key);
	yaml_append_value(at->problem, value);
	buf_printf(at->problem, "\": %s", why);
	return false;
}

static bool take_cluster(const struct members_yaml *y, const struct place *at, struct members *out)
{
	if (strlen(y->cluster) != 16 || strspn(y->cluster, "0123456789abcdefABCDEF") != 16 ||
	    (out->cluster = strtoull(y->cluster, NULL, 16)) == 0)
		return wrong(at, "cluster", y->cluster, "must be 16 hexadecimal digits, not all 0");
	return true;
}

static bool is_name(const char *text)
{
	return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") ==
	       strlen(text);
}

static bool is_key(const char *text)
{
	uint8_t bytes[MEMBER_KEY_CHARS / 5 * 4];
	return strlen(text) == MEMBER_KEY_CHARS && zmq_z85_decode(bytes, text) != NULL;
}

static bool is_address(const char *text)
{
	const char *colon = strrchr(text, ':');
	if (strncmp(text, "tcp://", 6) != 0 || colon < text + 7 || strpbrk(text, " ;*\"'"))
		return false;
	size_t digits = strspn(colon + 1, "0123456789");
	unsigned long port = strtoul(colon + 1, NULL, 10);
	return digits > 0 && digits <= 5 && colon[1 + digits] == '\0' && port > 0 && port <= 65535;
}

static bool is_source(const char *text)
{
	return strpbrk(text, " ;/*\"'") == NULL;
}

static bool check_values(const struct row_yaml *y, const struct place *at)
{
	enum role role = role_of(y->role);
	bool listens = role == ROLE_STORAGE || role == ROLE_COORDINATOR;
	bool address = y->address && y->address[0];
	if (!is_name(y->name))
		return wrong(at, "name", y->name, "may hold a-z A-Z 0-9 . - _ only");
	if (role == ROLE_NONE)
		return wrong(at, "role", y->role,
			     "must be gateway, storage, coordinator or arbiter");
	if (!is_key(y->public_key))
		return wrong(at, "public_key", y->public_key, "is not a CURVE key (Z85)");
	if (listens && !address)
		return wrong(at, "name", y->name, "needs an address tcp://host:port");
	if (address && !is_address(y->address))
		return wrong(at, "address", y->address, "must be tcp://host:port");
	if (address && !listens)
		return wrong(at, "address", y->address,
			     "only storage nodes and coordinators have one");
	if (y->source && !is_source(y->source))
		return wrong(at, "source", y->source, "must be an IP address of this member");
	return true;
}

static bool check_unique(const struct row_yaml *y, const struct place *at, const struct members *m)
{
	char id[24];
	snprintf(id, sizeof id, "%llu", (unsigned long long)y->id);
	if (y->id == 0)
		return wrong(at, "id", id, "must be above 0");
	if (members_by_id(m, y->id))
		return wrong(at, "id", id, "is there twice");
	if (members_by_name(m, y->name))
		return wrong(at, "name", y->name, "is there twice");
	if (members_by_key(m, y->public_key))
		return wrong(at, "public_key", y->public_key, "is there twice");
	for (uint32_t i = 0; y->address && y->address[0] && i < m->count; i++)
		if (strcmp(m->rows[i].address, y->address) == 0)
			return wrong(at, "address", y->address, "is there twice");
	return true;
}

static bool take_row(const struct row_yaml *y, const struct place *at, struct members *out)
{
	if (!check_values(y, at) || !check_unique(y, at, out))
		return false;
	struct member_row row = {.id = y->id, .role = role_of(y->role)};
	snprintf(row.name, sizeof row.name, "%s", y->name);
	snprintf(row.public_key, sizeof row.public_key, "%s", y->public_key);
	snprintf(row.address, sizeof row.address, "%s", y->address ? y->address : "");
	snprintf(row.source, sizeof row.source, "%s", y->source ? y->source : "");
	out->rows = mem_realloc(out->rows, (out->count + 1) * sizeof *out->rows);
	out->rows[out->count++] = row;
	return true;
}

bool members_load(const char *path, struct members *out, struct buf *problem)
{
	struct buf text = {0};
	struct place at = {path, &text, problem};
	void *data = NULL;
	*out = (struct members){0};
	bool ok = yaml_load(path, &list_schema, &data, &text, problem);
	const struct members_yaml *y = data;
	if (ok && !y) {
		buf_printf(problem, "%s: is empty", path);
		ok = false;
	}
	ok = ok && take_cluster(y, &at, out);
	for (unsigned i = 0; ok && i < y->members_count; i++)
		ok = take_row(&y->members[i], &at, out);
	if (data)
		yaml_unload(&list_schema, data);
	buf_close(&text);
	if (!ok)
		members_close(out);
	return ok;
}

void members_close(struct members *m)
{
	free(m->rows);
	*m = (struct members){0};
}

const struct member_row *members_by_id(const struct members *m, uint64_t id)
{
	for (uint32_t i = 0; i < m->count; i++)
		if (m->rows[i].id == id)
			return &m->rows[i];
	return NULL;
}

const struct member_row *members_by_name(const struct members *m, const char *name)
{
	for (uint32_t i = 0; i < m->count; i++)
		if (strcmp(m->rows[i].name, name) == 0)
			return &m->rows[i];
	return NULL;
}

const struct member_row *members_by_key(const struct members *m, const char *public_key)
{
	for (uint32_t i = 0; i < m->count; i++)
		if (strcmp(m->rows[i].public_key, public_key) == 0)
			return &m->rows[i];
	return NULL;
}
