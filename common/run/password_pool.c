#include "common/run/password_pool.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/memory.h"

/* One password from submission to its taking. */
struct work {
	struct work *next;
	uint32_t cost;
	size_t password_len;
	size_t salt_len;
	struct password_reply reply;
	uint8_t bytes[]; /* password, salt */
};

struct queue {
	struct work *first;
	struct work *last;
};

struct password_pool {
	pthread_t threads[PASSWORD_THREADS];
	unsigned threads_count; /* started when first needed */
	int fd;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t wanted;
	struct queue waiting;
	struct queue ready;
	bool ends;
};

static void queue_put(struct queue *q, struct work *w)
{
	w->next = NULL;
	if (q->last)
		q->last->next = w;
	else
		q->first = w;
	q->last = w;
}

static struct work *queue_take(struct queue *q)
{
	struct work *w = q->first;
	if (w)
		q->first = w->next;
	if (!q->first)
		q->last = NULL;
	return w;
}

static void work_free(struct work *w)
{
	explicit_bzero(w, sizeof *w + w->password_len + w->salt_len);
	free(w);
}

static void work_do(struct work *w)
{
	uint64_t memory = (uint64_t)w->cost * 128 * PASSWORD_BLOCK;
	w->reply.failed =
	    EVP_PBE_scrypt((const char *)w->bytes, w->password_len, w->bytes + w->password_len,
			   w->salt_len, w->cost, PASSWORD_BLOCK, 1, memory + (1 << 20),
			   w->reply.hash, sizeof w->reply.hash) != 1;
	explicit_bzero(w->bytes, w->password_len);
}

static void wake(struct password_pool *pool)
{
	uint64_t one = 1;
	/* never full: it is emptied by one read */
	CHECK(write(pool->fd, &one, sizeof one) == sizeof one);
}

static void *run(void *context)
{
	struct password_pool *pool = context;
	CHECK(pthread_mutex_lock(&pool->lock) == 0);
	while (!pool->ends) {
		struct work *w = queue_take(&pool->waiting);
		if (!w) {
			CHECK(pthread_cond_wait(&pool->wanted, &pool->lock) == 0);
			continue;
		}
		CHECK(pthread_mutex_unlock(&pool->lock) == 0);
		work_do(w);
		CHECK(pthread_mutex_lock(&pool->lock) == 0);
		queue_put(&pool->ready, w);
		wake(pool);
	}
	CHECK(pthread_mutex_unlock(&pool->lock) == 0);
	return NULL;
}

struct password_pool *password_pool_new(void)
{
	struct password_pool *pool = mem_alloc_zero(sizeof *pool);
	pool->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(pool->fd >= 0);
	CHECK(pthread_mutex_init(&pool->lock, NULL) == 0);
	CHECK(pthread_cond_init(&pool->wanted, NULL) == 0);
	return pool;
}

void password_pool_free(struct password_pool *pool)
{
	struct work *w;
	if (!pool)
		return;
	CHECK(pthread_mutex_lock(&pool->lock) == 0);
	pool->ends = true;
	CHECK(pthread_cond_broadcast(&pool->wanted) == 0);
	CHECK(pthread_mutex_unlock(&pool->lock) == 0);
	for (unsigned i = 0; i < pool->threads_count; i++)
		CHECK(pthread_join(pool->threads[i], NULL) == 0);
	while ((w = queue_take(&pool->waiting)) || (w = queue_take(&pool->ready)))
		work_free(w);
	(void)pthread_cond_destroy(&pool->wanted);
	(void)pthread_mutex_destroy(&pool->lock);
	(void)close(pool->fd);
	free(pool);
}

int password_pool_fd(const struct password_pool *pool)
{
	return pool->fd;
}

/* One is enough to go on with. */
static bool start_threads(struct password_pool *pool)
{
	while (pool->threads_count < PASSWORD_THREADS &&
	       pthread_create(&pool->threads[pool->threads_count], NULL, run, pool) == 0)
		pool->threads_count++;
	return pool->threads_count > 0;
}

void password_pool_submit(struct password_pool *pool, const struct password_request *request)
{
	size_t bytes = request->password.len + request->salt.len;
	struct work *w = mem_alloc_zero(sizeof *w + bytes);
	w->cost = request->cost;
	w->password_len = request->password.len;
	w->salt_len = request->salt.len;
	w->reply.id = request->id;
	if (w->password_len > 0)
		memcpy(w->bytes, request->password.data, w->password_len);
	if (w->salt_len > 0)
		memcpy(w->bytes + w->password_len, request->salt.data, w->salt_len);
	bool runs = start_threads(pool);
	w->reply.failed = !runs;
	CHECK(pthread_mutex_lock(&pool->lock) == 0);
	queue_put(runs ? &pool->waiting : &pool->ready, w);
	if (!runs)
		wake(pool);
	CHECK(pthread_cond_signal(&pool->wanted) == 0);
	CHECK(pthread_mutex_unlock(&pool->lock) == 0);
}

void password_pool_take(struct password_pool *pool,
			void (*done)(void *context, const struct password_reply *reply),
			void *context)
{
	uint64_t count;
	struct work *w;
	CHECK(read(pool->fd, &count, sizeof count) == sizeof count || errno == EAGAIN);
	CHECK(pthread_mutex_lock(&pool->lock) == 0);
	struct queue ready = pool->ready;
	pool->ready = (struct queue){0};
	CHECK(pthread_mutex_unlock(&pool->lock) == 0);
	while ((w = queue_take(&ready)) != NULL) {
		done(context, &w->reply);
		work_free(w);
	}
}
