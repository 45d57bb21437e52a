# Packages, keys, the development cluster and the units; see deploy/README.md.

deps:
	@deploy/install-packages deploy/packages.build
deps-test:
	@deploy/install-packages deploy/packages.build deploy/packages.test
	@$(MAKE) --no-print-directory $(NPM_STAMP)

$(BUILD)/parley-keys: $(BUILD)/deploy/curve_keypair.c.o
	$(CC) $(LDFLAGS) -o $@ $< -lzmq
all: $(BUILD)/parley-keys

.PHONY: deps deps-test

# From nothing to a cluster with data in it. The build must not start before its packages are there.
run: deps
	@$(MAKE) --no-print-directory all
	@deploy/run-demo --build $(BUILD)
stop:
	@deploy/dev-cluster down

check-units:
	@deploy/check-units

.PHONY: run stop check-units
check-config: all
	@deploy/check-config $(BUILD)
.PHONY: check-config
