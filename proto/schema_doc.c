/* Prints documentation from the tables: `schema_doc protocol` or `schema_doc errors`, to standard
 * output. */
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "proto/schema.h"

enum { FIRST_INTERNAL_STATUS = 100 };

static const char protocol_intro[] =
    "# The protocol between daemons\n"
    "\n"
    "Generated from `proto/messages.def` and `proto/status.def` by `make docs`; do not edit.\n"
    "\n"
    "Daemons speak ZeroMQ with CURVE. The key of a peer gives its role; the role decides which "
    "messages it may\n"
    "send (column \"from\"), and to whom (column \"to\"). Anything else is refused and counted.\n"
    "\n"
    "## Frames\n"
    "\n"
    "One ZeroMQ message carries one frame: a header of 12 bytes, then any number of messages.\n"
    "\n"
    "| bytes | content |\n"
    "|---|---|\n"
    "| 0-1 | `P` `Y` |\n"
    "| 2 | major version |\n"
    "| 3 | minor version |\n"
    "| 4-11 | cluster id, big endian |\n"
    "\n"
    "The first four bytes never change between major versions, so that a refusal can always be "
    "said in words.\n"
    "\n"
    "Each message is a MessagePack array `[type, request id, epoch, trace id, body]`:\n"
    "\n"
    "| member | type | content |\n"
    "|---|---|---|\n"
    "| type | unsigned | number of the message, below |\n"
    "| request id | unsigned | the sender's number for this exchange; answers repeat it; 0: no "
    "answer expected |\n"
    "| epoch | unsigned | of the shard concerned; 0: none |\n"
    "| trace id | bin, 0 or 16 bytes | W3C trace id; empty: none |\n"
    "| body | bin | the encoded message |\n"
    "\n"
    "Members after these belong to a later minor version and are skipped.\n"
    "\n"
    "## Encoding\n"
    "\n"
    "A message or struct is a MessagePack map from field number to value. Numbers ascend; each "
    "occurs at most\n"
    "once. Readers skip numbers that they do not know. A required field is always there; an "
    "optional one that\n"
    "is absent reads as zero or empty, and a zero or empty one is not written. A message that "
    "breaks a limit,\n"
    "a type or the order is refused whole. Numbers are never reused. Times are milliseconds.\n"
    "\n"
    "| type | on the wire | limit |\n"
    "|---|---|---|\n"
    "| u64 | unsigned integer | greatest value |\n"
    "| i64 | integer | |\n"
    "| flag | boolean | |\n"
    "| bin | bin | bytes |\n"
    "| a struct | map | |\n"
    "| list of ... | array | members |\n";

static void print_roles(unsigned roles)
{
	static const struct {
		unsigned bit;
		const char *name;
	} names[] = {{R_GATEWAY, "gateway"},
		     {R_STORAGE, "storage node"},
		     {R_COORDINATOR, "coordinator"},
		     {R_ARBITER, "arbiter"}};
	const char *separator = "";
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!(roles & names[i].bit))
			continue;
		printf("%s%s", separator, names[i].name);
		separator = ", ";
	}
}

static void print_type(const struct schema_field *f)
{
	switch ((enum schema_type)f->type) {
	case SCHEMA_U64:
		printf("u64");
		break;
	case SCHEMA_I64:
		printf("i64");
		break;
	case SCHEMA_FLAG:
		printf("flag");
		break;
	case SCHEMA_BIN:
		printf("bin");
		break;
	case SCHEMA_ITEM:
		printf("[%s](#%s)", f->nested->name, f->nested->name);
		break;
	case SCHEMA_LIST:
		printf("list of [%s](#%s)", f->nested->name, f->nested->name);
		break;
	case SCHEMA_LIST_U64:
		printf("list of u64");
		break;
	case SCHEMA_LIST_BIN:
		printf("list of bin");
		break;
	}
}

static void print_limit(const struct schema_field *f)
{
	if (f->limit == 0 || f->type == SCHEMA_FLAG)
		return;
	printf("%llu", (unsigned long long)f->limit);
	if (f->type == SCHEMA_LIST_BIN)
		printf(", each %llu bytes", (unsigned long long)f->limit_bytes);
}

static void print_schema(const struct schema *schema)
{
	printf("\n### %s\n\n", schema->name);
	if (schema->number > 0) {
		printf("Number 0x%02x. From: ", schema->number);
		print_roles(schema->senders);
		printf(". To: ");
		print_roles(schema->receivers);
		printf(".\n\n");
	}
	printf("%s.\n\n", schema->doc);
	printf("| no | field | type | need | limit | meaning |\n|---|---|---|---|---|---|\n");
	for (uint32_t i = 0; i < schema->fields_count; i++) {
		const struct schema_field *f = &schema->fields[i];
		printf("| %u | %s | ", f->number, f->name);
		print_type(f);
		printf(" | %s | ", f->required ? "required" : "optional");
		print_limit(f);
		printf(" | %s |\n", f->doc);
	}
}

static void print_messages(void)
{
	printf("\n## Messages\n\n| no | message | from | to | purpose |\n|---|---|---|---|---|\n");
	for (size_t i = 0; schema_all[i]; i++) {
		const struct schema *s = schema_all[i];
		if (s->number == 0)
			continue;
		printf("| 0x%02x | [%s](#%s) | ", s->number, s->name, s->name);
		print_roles(s->senders);
		printf(" | ");
		print_roles(s->receivers);
		printf(" | %s |\n", s->doc);
	}
	for (size_t i = 0; schema_all[i]; i++)
		if (schema_all[i]->number > 0)
			print_schema(schema_all[i]);
	printf("\n## Structs\n\nParts of messages, and what lies in the store.\n");
	for (size_t i = 0; schema_all[i]; i++)
		if (schema_all[i]->number == 0)
			print_schema(schema_all[i]);
}

static void print_statuses(uint64_t below)
{
	printf("| status | no | HTTP | retry | code | meaning |\n|---|---|---|---|---|---|\n");
	for (uint64_t number = 0; number < below; number++) {
		const struct status_row *row = status_row(number);
		if ((uint64_t)row->status != number)
			continue;
		printf("| %s | %llu | %d | %s | `%s` | %s |\n", row->name,
		       (unsigned long long)number, row->http,
		       row->retry == RETRY_LATER ? "later" : "no", row->code, row->text);
	}
}

static void print_protocol(void)
{
	fputs(protocol_intro, stdout);
	printf("\nThis is version %d.%d.\n", PROTOCOL_MAJOR, PROTOCOL_MINOR);
	print_messages();
	printf("\n## Statuses\n\nFrom %d on they travel between daemons only. A number that a "
	       "reader does "
	       "not know reads as INTERNAL.\n\n",
	       FIRST_INTERNAL_STATUS);
	print_statuses(UINT16_MAX);
}

static void print_errors(void)
{
	printf("# Outcomes and errors\n\n"
	       "Generated from `proto/status.def` by `make docs`; do not edit.\n\n"
	       "Every answer that is not a success has a JSON body with the `code` below, a "
	       "sentence for people\n"
	       "and, where it helps, the place in the request. Programs go by `code`: it never "
	       "changes; the text\n"
	       "may. Where retry says *later*, the same request may succeed later, and the answer "
	       "carries\n"
	       "`Retry-After`.\n\n");
	print_statuses(FIRST_INTERNAL_STATUS);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "protocol") == 0) {
		print_protocol();
	} else if (argc == 2 && strcmp(argv[1], "errors") == 0) {
		print_errors();
	} else {
		fprintf(stderr, "usage: schema_doc protocol | errors\n");
		return 2;
	}
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
