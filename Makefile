# What people and machines run. Everything that is missing is installed or named with its remedy.
CARGO ?= $(shell command -v cargo || echo "$$HOME/.cargo/bin/cargo")

.PHONY: help check test test-mariadb-11.8 it drivers fuzz demo bench bench-proxy bench-copy bench-rows bench-stall bench-drop bench-hot fmt hooks servers

help:
	@echo "make demo          a server, the proxy, an application, a migration under it, a report (SERVER=mysql|mariadb)"
	@echo "make check         format, lints, layers, unit tests: under a minute"
	@echo "make test          everything, on MySQL and MariaDB"
	@echo "make test-mariadb-11.8   what runs on MariaDB, and the whole catalogue, on MariaDB 11.8"
	@echo "make drivers       test suites of drivers and servers, directly and through the proxy, compared (SUITES=names, SERVER=mysql|mariadb)"
	@echo "make it            every case of the catalogue (docs/catalogue.md) on both servers: some minutes"
	@echo "make bench-stall   what clients feel at a cut-over, step by step"
	@echo "make bench-rows    whether a row costs more where a table has twenty million of them"
	@echo "make bench-drop    what everybody feels while the server drops a large table"
	@echo "make bench-hot     what the proxy does for each command and reply, without a network"
	@echo "make fuzz          each fuzz target for MINUTES (10), two at once (TARGETS=names)"
	@echo "make bench         both benches: bench-proxy (cost of a query), bench-copy (copy against the server's own ALTER)"
	@echo "make fmt, hooks    format the code; run make check before each commit"

# The real-server tests need minutes; they belong to `make test`.
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets --quiet -- -D warnings
	$(CARGO) test --quiet --lib --bins
	$(CARGO) test --quiet --test tidy
	$(CARGO) test --quiet --test it -- support:: history::check

test: servers
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --lib --bins --tests --test-threads 3 --no-fail-fast; \
	else \
		$(CARGO) test --lib --bins --tests --no-fail-fast -- --test-threads=3; \
	fi

it: servers
	TIDEGATE_TEST_CASES=all $(CARGO) test --test it catalogue:: -- --test-threads=2

# The same tests on another MariaDB than 10.11, the one of Debian's trixie.
test-mariadb-11.8: export TIDEGATE_MARIADB_SUITE = trixie
test-mariadb-11.8: export TIDEGATE_SERVERS = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tidegate/servers-mariadb-11.8
test-mariadb-11.8: export TIDEGATE_TEST_CASES = all
test-mariadb-11.8: export TIDEGATE_TEST_OTHER_RELEASE = 1
test-mariadb-11.8:
	tests/support/install-servers mysql mariadb
	$(CARGO) test --test it mariadb --no-fail-fast -- --test-threads=3

servers:
	tests/support/install-servers mysql mariadb

drivers:
	@tests/drivers/run $(SUITES)

fuzz:
	@fuzz/run $(TARGETS)

demo:
	@tests/demo/prepare $(or $(SERVER),mysql)
	@$(CARGO) build --release --bin tidegate --example demo
	@SERVER=$(or $(SERVER),mysql) target/release/examples/demo

bench: bench-proxy bench-copy

bench-proxy:
	@tests/support/install-servers mysql haproxy sysbench
	@$(CARGO) build --release --bin tidegate --example bench_proxy
	@target/release/examples/bench_proxy

bench-stall:
	@tests/support/install-servers mysql mariadb
	@$(CARGO) build --release --bin tidegate --example bench_stall
	@target/release/examples/bench_stall

bench-drop:
	@tests/support/install-servers mysql mariadb
	@$(CARGO) build --release --example bench_drop
	@target/release/examples/bench_drop

bench-rows:
	@tests/support/install-servers mysql mariadb
	@$(CARGO) build --release --bin tidegate --example bench_rows
	@target/release/examples/bench_rows

bench-copy:
	@tests/support/install-servers mysql mariadb
	@$(CARGO) build --release --bin tidegate --example bench_copy
	@target/release/examples/bench_copy

bench-hot:
	@$(CARGO) bench --bench hot_paths

fmt:
	$(CARGO) fmt --all

hooks:
	@printf '#!/bin/sh\nexec make check\n' >"$$(git rev-parse --git-path hooks)/pre-commit"
	@chmod 755 "$$(git rev-parse --git-path hooks)/pre-commit"
	@echo "make check now runs before each commit"
