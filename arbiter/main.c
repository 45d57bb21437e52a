/* parley-arbiter: pulls the conflict queue, applies policies, drives acknowledged cleanup. Keeps
 * nothing. */
#include "arbiter/arbiter.h"
#include "common/run/daemon.h"
#include "common/run/script_pool.h"

static const struct config_option options[] = {
    SCRIPT_POOL_OPTIONS,
    {"script_time_ms", CONFIG_NUMBER, "500", 10, 60000,
     "processor time that the script of a policy may take for one conflict"},
    {"script_memory_bytes", CONFIG_NUMBER, "67108864", 8388608, SCRIPT_MEMORY_BYTES_MAX,
     "memory that it may take"},
};

static void *create(struct daemon *d, uint64_t seed, struct buf *problem)
{
	(void)problem;
	const struct config *c = daemon_config(d);
	struct arbiter_options o = {.self = daemon_self(d)->id,
				    .coordinator = daemon_coordinator(d),
				    .script_time_ms = config_number(c, "script_time_ms"),
				    .script_memory_bytes = config_number(c, "script_memory_bytes")};
	return arbiter_new(&o, seed);
}

static void destroy(void *core)
{
	arbiter_free(core);
}

int main(int argc, char **argv)
{
	const struct daemon_spec spec = {.ops = &arbiter_ops,
					 .options = options,
					 .options_count = ARRAY_LEN(options),
					 .scripts = true,
					 .create = create,
					 .destroy = destroy};
	return daemon_run(argc, argv, &spec);
}
