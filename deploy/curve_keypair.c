/* parley-keys DIR NAME: makes a member's CURVE pair. DIR/NAME.key gets the secret, mode 0600,
 * DIR/NAME.pub the public half, both Z85 with a newline. A secret that is there is never replaced;
 * its public half is written again. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

enum { KEY_CHARS = 40 };

static bool complain(const char *what, const char *path)
{
	fprintf(stderr, "parley-keys: %s: %s: %s\n", path, what, strerror(errno));
	return false;
}

static bool key_write(const char *path, const char *key, int flags, mode_t mode)
{
	char line[KEY_CHARS + 1];
	memcpy(line, key, KEY_CHARS);
	line[KEY_CHARS] = '\n';
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, mode);
	if (fd < 0)
		return complain("can't be made", path);
	bool ok = write(fd, line, sizeof line) == (ssize_t)sizeof line && fsync(fd) == 0;
	if (!ok)
		complain("can't be written", path);
	if (close(fd) != 0)
		ok = complain("can't be written", path);
	/* Half a key would be kept for ever. */
	if (!ok)
		unlink(path);
	return ok;
}

/* Reads a secret that is there already. */
static bool key_read(const char *path, char key[KEY_CHARS + 1])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return complain("can't be read", path);
	ssize_t got = read(fd, key, KEY_CHARS);
	close(fd);
	if (got != KEY_CHARS) {
		fprintf(stderr,
			"parley-keys: %s: is not a CURVE key; move it away to make a new one\n",
			path);
		return false;
	}
	key[KEY_CHARS] = 0;
	return true;
}

static bool secret_make(const char *path, char public_key[KEY_CHARS + 1])
{
	char secret[KEY_CHARS + 1];
	if (zmq_curve_keypair(public_key, secret) != 0) {
		fprintf(stderr, "parley-keys: this libzmq has no CURVE\n");
		return false;
	}
	return key_write(path, secret, O_EXCL, 0600);
}

static bool secret_use(const char *path, char public_key[KEY_CHARS + 1])
{
	char secret[KEY_CHARS + 1];
	if (!key_read(path, secret))
		return false;
	if (zmq_curve_public(public_key, secret) != 0) {
		fprintf(stderr,
			"parley-keys: %s: is not a CURVE key; move it away to make a new one\n",
			path);
		return false;
	}
	return true;
}

static bool path_make(char path[PATH_MAX], const char *dir, const char *name, const char *suffix)
{
	int len = snprintf(path, PATH_MAX, "%s/%s%s", dir, name, suffix);
	if (len > 0 && len < PATH_MAX)
		return true;
	fprintf(stderr, "parley-keys: the path is too long\n");
	return false;
}

int main(int argc, char **argv)
{
	char secret_path[PATH_MAX];
	char public_path[PATH_MAX];
	char public_key[KEY_CHARS + 1];
	if (argc != 3 || !argv[2][0] || argv[2][0] == '.' || strchr(argv[2], '/')) {
		fprintf(stderr, "usage: parley-keys DIR NAME\n");
		return 2;
	}
	if (!path_make(secret_path, argv[1], argv[2], ".key") ||
	    !path_make(public_path, argv[1], argv[2], ".pub"))
		return 1;
	bool there = access(secret_path, F_OK) == 0;
	bool ok =
	    there ? secret_use(secret_path, public_key) : secret_make(secret_path, public_key);
	return ok && key_write(public_path, public_key, O_TRUNC, 0644) ? 0 : 1;
}
