/* The table of messages.def as descriptors: an array of rows and a schema for each entry. */
#include <stddef.h>

#include "common/base/check.h"
#include "proto/schema.h"

enum { OPTIONAL = 0, REQUIRED = 1 };

/* FIELD knows its owner's name but not whether that is a message: give both kinds one spelling. */
#define MESSAGE(name, number, senders, receivers, doc) typedef struct msg_##name owner_##name;
#define STRUCT(name, doc)                              typedef struct name owner_##name;
#define FIELD(owner, number, type, name, need, limit, doc)
#define ITEM(owner, number, type, name, need, doc)
#define LIST(owner, number, type, name, need, limit, doc)
#define LIST_U64(owner, number, name, need, limit, doc)
#define LIST_BIN(owner, number, name, need, limit, bytes, doc)
#define END(name)
#include "proto/messages.def"
#undef MESSAGE
#undef STRUCT
#undef FIELD
#undef ITEM
#undef LIST
#undef LIST_U64
#undef LIST_BIN
#undef END

#define TYPE_u64  SCHEMA_U64
#define TYPE_i64  SCHEMA_I64
#define TYPE_flag SCHEMA_FLAG
#define TYPE_bin  SCHEMA_BIN

#define STRUCT(name, doc) static const struct schema_field fields_##name[] = {

#define MESSAGE(name, number, senders, receivers, doc) STRUCT(name, doc)
#define ROW(owner, number_, type_, name_, need, limit_, doc_)                                      \
	.name = #name_, .doc = (doc_), .number = (number_), .type = (type_), .required = (need),   \
	.limit = (uint64_t)(limit_), .offset = offsetof(owner_##owner, name_)
#define FIELD(owner, number, type, name, need, limit, doc)                                         \
	{ROW(owner, number, TYPE_##type, name, need, limit, doc)},
#define ITEM(owner, number, type, name, need, doc)                                                 \
	{ROW(owner, number, SCHEMA_ITEM, name, need, 0, doc), .nested = &schema_##type},
#define LIST(owner, number, type, name, need, limit, doc)                                          \
	{ROW(owner, number, SCHEMA_LIST, name, need, limit, doc), .nested = &schema_##type,        \
	 .count_offset = offsetof(owner_##owner, name##_count)},
#define LIST_U64(owner, number, name, need, limit, doc)                                            \
	{ROW(owner, number, SCHEMA_LIST_U64, name, need, limit, doc),                              \
	 .count_offset = offsetof(owner_##owner, name##_count)},
#define LIST_BIN(owner, number, name, need, limit, bytes, doc)                                     \
	{ROW(owner, number, SCHEMA_LIST_BIN, name, need, limit, doc), .limit_bytes = (bytes),      \
	 .count_offset = offsetof(owner_##owner, name##_count)},
#define END(name)                                                                                  \
	}                                                                                          \
	;
#include "proto/messages.def"
#undef MESSAGE
#undef STRUCT
#undef FIELD
#undef ITEM
#undef LIST
#undef LIST_U64
#undef LIST_BIN
#undef END
#undef ROW

#define FIELD(owner, number, type, name, need, limit, doc)
#define ITEM(owner, number, type, name, need, doc)
#define LIST(owner, number, type, name, need, limit, doc)
#define LIST_U64(owner, number, name, need, limit, doc)
#define LIST_BIN(owner, number, name, need, limit, bytes, doc)
#define END(name)

#define MESSAGE(name_, number_, senders_, receivers_, doc_)                                        \
	const struct schema schema_msg_##name_ = {.name = #name_,                                  \
						  .doc = (doc_),                                   \
						  .number = (number_),                             \
						  .senders = (senders_),                           \
						  .receivers = (receivers_),                       \
						  .size = sizeof(struct msg_##name_),              \
						  .fields = fields_##name_,                        \
						  .fields_count = ARRAY_LEN(fields_##name_)};
#define STRUCT(name_, doc_)                                                                        \
	const struct schema schema_##name_ = {.name = #name_,                                      \
					      .doc = (doc_),                                       \
					      .size = sizeof(struct name_),                        \
					      .fields = fields_##name_,                            \
					      .fields_count = ARRAY_LEN(fields_##name_)};
#include "proto/messages.def"
#undef MESSAGE
#undef STRUCT

/* A number used twice is an error here: an initialiser would be overridden. */
#define MESSAGE(name, number, senders, receivers, doc) [(number)] = &schema_msg_##name,
#define STRUCT(name, doc)
static const struct schema *const by_number[MSG_NUMBER_MAX + 1] = {
#include "proto/messages.def"
};
#undef MESSAGE
#undef STRUCT

#define MESSAGE(name, number, senders, receivers, doc) &schema_msg_##name,
#define STRUCT(name, doc)
const struct schema *const schema_all[] = {
#include "proto/messages.def"
#undef MESSAGE
#undef STRUCT
#define MESSAGE(name, number, senders, receivers, doc)
#define STRUCT(name, doc) &schema_##name,
#include "proto/messages.def"
    NULL};

const struct schema *schema_of_message(uint16_t number)
{
	return number <= MSG_NUMBER_MAX ? by_number[number] : NULL;
}

bool message_allowed(uint16_t type, enum role sender, enum role receiver)
{
	const struct schema *schema = schema_of_message(type);
	if (!schema || sender > ROLE_MAX || receiver > ROLE_MAX)
		return false;
	return (schema->senders & 1u << sender) && (schema->receivers & 1u << receiver);
}
