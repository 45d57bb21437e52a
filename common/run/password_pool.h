/* Threads that hash passwords, so that the loop does not stand still meanwhile. At most
 * PASSWORD_THREADS at once; what more is submitted waits, in order. */
#ifndef PARLEY_RUN_PASSWORD_POOL_H
#define PARLEY_RUN_PASSWORD_POOL_H

#include "common/password.h"

enum { PASSWORD_THREADS = 2 };

struct password_pool;

struct password_pool *password_pool_new(void);
/* Waits for those that have begun. */
void password_pool_free(struct password_pool *pool);
/* Readable when there is something to take. */
int password_pool_fd(const struct password_pool *pool);
/* Copies; the copy of the password is wiped after use. */
void password_pool_submit(struct password_pool *pool, const struct password_request *request);
/* Calls done for each that is ready, in the caller's thread. */
void password_pool_take(struct password_pool *pool,
			void (*done)(void *context, const struct password_reply *reply),
			void *context);

#endif
