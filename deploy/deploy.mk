# Packages, keys, the development cluster and the units; see deploy/README.md.

DEV_CLUSTER := deploy/dev-cluster

deps:
	@deploy/install-packages deploy/packages.build
deps-test:
	@deploy/install-packages deploy/packages.build deploy/packages.test

$(BUILD)/parley-keys: $(BUILD)/deploy/curve_keypair.c.o
	$(CC) $(LDFLAGS) -o $@ $< -lzmq
all: $(BUILD)/parley-keys

.PHONY: deps deps-test
