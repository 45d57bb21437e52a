/* Start and end of a daemon: configuration, members, keys, store, core, bus. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/run/clock.h"
#include "common/run/daemon_private.h"
#include "common/run/descriptors.h"
#include "common/run/entropy.h"
#include "common/run/file.h"
#include "common/store/mark.h"
#include "common/store/store_rocks.h"

enum { PATH_BYTES = 4096, KEY_FILE_BYTES = 4096, OPEN_TIMEOUT_US = 600000000, BUS_LINGER_MS = 500 };
/* Open files: of a store, listeners and script workers; of the bus, for one that it connects to and
 * that connects to it. */
enum { DESCRIPTORS_OWN = 512, DESCRIPTORS_A_MEMBER = 8 };

/* ---- configuration and members ---- */

static bool read_config(struct daemon *d, int argc, char **argv)
{
	struct buf text = {0};
	enum config_outcome outcome =
	    config_read(&d->config, d->spec->options, d->spec->options_count, argc, argv, &text);
	if (outcome == CONFIG_DONE)
		fputs(buf_cstr(&text), stdout);
	if (outcome == CONFIG_WRONG)
		fprintf(stderr, "parley-%s: %s\n", d->spec->ops->name, buf_cstr(&text));
	buf_close(&text);
	d->exit_code = outcome == CONFIG_WRONG ? DAEMON_EXIT_USAGE : DAEMON_EXIT_OK;
	return outcome == CONFIG_RUN;
}

static bool open_log(struct daemon *d, struct buf *problem)
{
	enum log_level level;
	if (!logger_level_of(config_text(&d->config, "log_level"), &level)) {
		buf_printf(problem, "log_level must be debug, info, warn or error, not \"%s\"",
			   config_text(&d->config, "log_level"));
		return false;
	}
	logger_open(&d->logger, role_name(d->spec->ops->role), config_text(&d->config, "name"),
		    level);
	return true;
}

static bool find_self(struct daemon *d, struct buf *problem)
{
	const char *name = config_text(&d->config, "name");
	const struct member_row *self = members_by_name(&d->members, name);
	if (!self)
		buf_printf(problem, "%s has no member %s", config_text(&d->config, "members_file"),
			   name);
	else if (self->role != d->spec->ops->role)
		buf_printf(problem, "member %s has the role %s, this program is %s", name,
			   role_name(self->role), role_name(d->spec->ops->role));
	else
		d->self = self->id;
	return d->self != 0;
}

/* ---- the store ---- */

static bool verifying(const struct daemon *d)
{
	return d->spec->verify && config_bool(&d->config, "verify");
}

static void store_path(const struct daemon *d, char path[PATH_BYTES])
{
	snprintf(path, PATH_BYTES, "%s/store", config_text(&d->config, "data_dir"));
}

bool daemon_set_aside(struct daemon *d, const char *reason)
{
	char path[PATH_BYTES];
	char aside[PATH_BYTES + 64];
	store_path(d, path);
	snprintf(aside, sizeof aside, "%s.aside-%lld", path, (long long)clock_wall_ms());
	if (rename(path, aside) != 0) {
		logger_printf(&d->logger, LOG_LEVEL_FATAL,
			      "set_aside_failed path=\"%s\" error=\"%s\"", path, strerror(errno));
		return false;
	}
	logger_printf(&d->logger, LOG_LEVEL_ERROR, "data_set_aside path=\"%s\" reason=\"%s\"",
		      aside, reason);
	return true;
}

/* To open a store where there is none makes one, in which all is well; and what is made in it by
 * somebody else its daemon could not read. */
static bool can_verify(const char *path, struct buf *problem)
{
	struct stat st;
	if (stat(path, &st) != 0)
		buf_printf(problem, "%s: %s", path, strerror(errno));
	else if (st.st_uid != geteuid())
		buf_printf(problem, "%s belongs to user %u, who alone may look at it, not to %u",
			   path, (unsigned)st.st_uid, (unsigned)geteuid());
	else
		return true;
	return false;
}

/* A store that can't be vouched for is never opened as if nothing had happened: a node begins anew
 * under a new incarnation and is rebuilt by its peers; a coordinator needs its operator. */
static bool open_store(struct daemon *d, struct buf *problem)
{
	char path[PATH_BYTES];
	struct buf text = {0};
	const char *data_dir = config_text(&d->config, "data_dir");
	store_path(d, path);
	if (verifying(d) && !can_verify(path, problem))
		return false;
	bool made = mkdir(data_dir, 0700) == 0;
	if ((!made && errno != EEXIST) || (made && !directory_sync(data_dir))) {
		buf_printf(problem, "data_dir %s: %s", data_dir, strerror(errno));
		return false;
	}
	sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%d\nSTATUS=opening the store", OPEN_TIMEOUT_US);
	struct store_rocks_options options = {
	    .path = path, .accept_torn_log = config_bool(&d->config, "accept_torn_log")};
	enum store_open opened = store_rocks_open(&options, &d->store, &text);
	if (opened == STORE_OPEN_CORRUPT && d->spec->identity && !verifying(d) &&
	    daemon_set_aside(d, buf_cstr(&text))) {
		buf_clear(&text);
		opened = store_rocks_open(&options, &d->store, &text);
	}
	if (opened == STORE_OPEN_OK && text.len > 0)
		logger_printf(&d->logger, LOG_LEVEL_WARN, "store_opened note=\"%s\"",
			      buf_cstr(&text));
	if (opened == STORE_OPEN_BUSY)
		buf_printf(problem, "another process has %s open: only one %s may run on it", path,
			   d->spec->ops->name);
	else if (opened == STORE_OPEN_CORRUPT)
		buf_printf(problem, "%s is damaged: %s", path, buf_cstr(&text));
	else if (opened != STORE_OPEN_OK)
		buf_printf(problem, "can't open %s: %s", path, buf_cstr(&text));
	buf_close(&text);
	return opened == STORE_OPEN_OK;
}

/* ---- core and bus ---- */

/* Damage that shows only when the store is read. */
static void set_damaged_aside(struct daemon *d)
{
	char reason[200];
	if (!d->store || d->core || !d->spec->identity || !store_rocks_damaged(d->store))
		return;
	struct slice error = store_rocks_error(d->store);
	snprintf(reason, sizeof reason, "%.*s", (int)error.len, (const char *)error.data);
	store_close(d->store);
	d->store = NULL;
	if (daemon_set_aside(d, reason))
		d->exit_code = DAEMON_EXIT_RESET;
}

static void open_scripts(struct daemon *d)
{
	struct script_pool_setup setup = {.program = config_text(&d->config, "script_worker"),
					  .workers =
					      (uint32_t)config_number(&d->config, "script_workers"),
					  .loop = &d->loop,
					  .logger = &d->logger};
	d->scripts = script_pool_new(&setup);
}

static bool create_core(struct daemon *d, struct buf *problem)
{
	d->core = d->spec->create(d, entropy_u64(), problem);
	if (!d->core && problem->len == 0)
		buf_append_text(problem, "the store holds what this version can't read");
	return d->core != NULL;
}

static bool open_bus(struct daemon *d, struct buf *problem)
{
	struct buf key = {0};
	bool ok =
	    file_read_secret(config_text(&d->config, "key_file"), KEY_FILE_BYTES, &key, problem);
	while (key.len > 0 && (key.data[key.len - 1] == '\n' || key.data[key.len - 1] == ' '))
		key.len--;
	if (ok) {
		struct bus_options options = {.members = &d->members,
					      .self = d->self,
					      .secret_key = buf_cstr(&key),
					      .logger = &d->logger,
					      .bind = true,
					      .bind_to = config_text(&d->config, "bind")};
		d->bus = bus_new(&options, problem);
	}
	if (key.data)
		explicit_bzero(key.data, key.cap);
	buf_close(&key);
	return d->bus != NULL;
}

static void on_bus(void *context)
{
	(void)context; /* the turn that follows reads it */
}

/* Only looks at the store. */
static void verify(struct daemon *d)
{
	struct buf report = {0};
	bool well = d->spec->verify(d, &report);
	fwrite(report.data, 1, report.len, stdout);
	d->exit_code = fflush(stdout) == 0 && well ? DAEMON_EXIT_OK : DAEMON_EXIT_FAILED;
	buf_close(&report);
}

static bool open_all(struct daemon *d, struct buf *problem)
{
	if (!open_log(d, problem) ||
	    !members_load(config_text(&d->config, "members_file"), &d->members, problem) ||
	    !find_self(d, problem))
		return false;
	descriptors_want(&d->logger,
			 DESCRIPTORS_OWN + (uint64_t)DESCRIPTORS_A_MEMBER * d->members.count);
	if (d->spec->stores && !open_store(d, problem))
		return false;
	if (verifying(d)) {
		verify(d);
		return true;
	}
	if (d->spec->identity &&
	    !identity_take(d->store, d->members.cluster, d->self, &d->identity, problem))
		return false;
	if (!create_core(d, problem) || !open_bus(d, problem))
		return false;
	loop_add(&d->loop, bus_fd(d->bus), on_bus, d);
	if (d->spec->scripts)
		open_scripts(d);
	if (!daemon_open_health(d, problem))
		return false;
	logger_printf(&d->logger, LOG_LEVEL_INFO, "listening listener=health address=%s port=%u",
		      config_text(&d->config, "health_address"), health_port(d->health));
	return true;
}

bool daemon_setup(struct daemon *d, int argc, char **argv)
{
	struct buf problem = {0};
	logger_open(&d->logger, role_name(d->spec->ops->role), "starting", LOG_LEVEL_INFO);
	if (!read_config(d, argc, argv))
		return false;
	if (!verifying(d)) /* it blocks signals, and nobody would hear them */
		loop_open(&d->loop);
	bool ok = open_all(d, &problem);
	if (!ok) {
		logger_printf(&d->logger, LOG_LEVEL_FATAL, "start_failed reason=\"%s\"",
			      buf_cstr(&problem));
		d->exit_code = DAEMON_EXIT_FAILED;
		set_damaged_aside(d);
	} else if (d->core) {
		logger_printf(&d->logger, LOG_LEVEL_INFO, "started member=%llu boot=%llu",
			      (unsigned long long)d->self, (unsigned long long)d->identity.boot);
	}
	buf_close(&problem);
	return ok && d->core != NULL;
}

void daemon_teardown(struct daemon *d)
{
	if (d->spec->teardown && d->core)
		d->spec->teardown(d);
	health_close(d->health);
	script_pool_free(d->scripts);
	if (d->core)
		d->spec->destroy(d->core);
	if (d->bus)
		bus_free(d->bus, BUS_LINGER_MS);
	if (d->store)
		store_close(d->store);
	effects_close(&d->fx);
	free(d->unsent);
	members_close(&d->members);
	if (d->loop.epoll > 0)
		loop_close(&d->loop);
	logger_close(&d->logger);
	config_close(&d->config);
}

/* ---- SIGHUP ---- */

static void reload_members(struct daemon *d)
{
	struct members fresh;
	struct buf problem = {0};
	bool ok = members_load(config_text(&d->config, "members_file"), &fresh, &problem);
	const struct member_row *self = ok ? members_by_id(&fresh, d->self) : NULL;
	if (ok && (!self || fresh.cluster != d->members.cluster)) {
		buf_append_text(&problem, "it is another cluster's, or lacks this member");
		members_close(&fresh);
		ok = false;
	}
	if (ok) {
		struct members old = d->members;
		d->members = fresh; /* the bus reads it at its old address */
		bus_members_changed(d->bus);
		members_close(&old);
	} else {
		logger_printf(&d->logger, LOG_LEVEL_ERROR,
			      "reload_failed what=members reason=\"%s\"", buf_cstr(&problem));
	}
	buf_close(&problem);
}

static void reload_log_level(struct daemon *d)
{
	struct config fresh = {0};
	struct buf text = {0};
	enum log_level level;
	if (config_read(&fresh, d->spec->options, d->spec->options_count, d->argc, d->argv,
			&text) == CONFIG_RUN &&
	    logger_level_of(config_text(&fresh, "log_level"), &level))
		d->logger.level = level;
	else
		logger_printf(&d->logger, LOG_LEVEL_ERROR,
			      "reload_failed what=config reason=\"%s\"", buf_cstr(&text));
	config_close(&fresh);
	buf_close(&text);
}

void daemon_reload(struct daemon *d)
{
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)clock_mono_us());
	reload_log_level(d);
	reload_members(d);
	struct buf problem = {0};
	if (!daemon_open_health(d, &problem))
		logger_printf(&d->logger, LOG_LEVEL_ERROR,
			      "reload_failed what=health_tls reason=\"%s\"", buf_cstr(&problem));
	buf_close(&problem);
	if (d->spec->reload)
		d->spec->reload(d);
	logger_printf(&d->logger, LOG_LEVEL_INFO, "reloaded");
	if (d->ready_told)
		sd_notify(0, "READY=1");
}
