/* Assertions that stay on in production: they catch our bugs, never bad input. */
#ifndef PARLEY_BASE_CHECK_H
#define PARLEY_BASE_CHECK_H

#include <stddef.h>

/* Prints where and what, then aborts; never returns. */
_Noreturn void check_failed(const char *file, int line, const char *what);

/* CHECK(cond): cond is an invariant of this program; false means a bug of ours. */
#define CHECK(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))

/* Marks results that nobody may ignore. */
#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
