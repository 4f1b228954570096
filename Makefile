# The everyday verbs. Each does the set-up it needs, and is fast when that is done.

TRIPLE  := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
RELEASE := target/$(TRIPLE)/release
PREFIX  ?= $(HOME)/.local
STORIES := repro-fix-loop cold-start-validation parallel-workspaces untrusted-inspection review-eval

.PHONY: run test test-fast check dist-check fuzz lint build wheel setup setup-wheel setup-fuzz setup-tests pull pull-build generate cast bench install uninstall ci clean \
        $(STORIES:%=smoke-%) smoke-use-cases

run: build                ## run `git --version` in a fresh Debian VM
	$(RELEASE)/pyro run debian:12 -- git --version

test:                     ## run every test, real VMs included
	scripts/test all

test-fast: setup          ## run the tests that need no VM (seconds, once built)
	scripts/test fast

check: lint test-fast     ## what to run before a commit: lint and the fast tests

dist-check: wheel pull    ## build the wheel that people install, and play it from a clean environment
	scripts/dist-check

fuzz: setup-fuzz          ## look for input that a parser of guests' bytes fails with, a minute each
	scripts/fuzz 60

lint: setup               ## check formatting, clippy, the arrows between crates, tests left out and generated files
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features pyro-shim/real-vms --locked -- --deny warnings
	cargo xtask arrows
	cargo xtask left-out
	cargo xtask python --check

build: setup              ## build `pyro` and the guest agent
	cargo build --release --locked --package pyro-cli --package pyro-agent

wheel: setup-wheel build  ## build the Python package into dist/
	scripts/wheel

cast: build               ## record the walk-through of the README again, on a real VM
	scripts/walk-through/record

generate: setup           ## write what follows from the declarations
	cargo xtask python

setup:                    ## install what is missing on this machine
	@scripts/setup

setup-wheel setup-fuzz setup-tests: setup-%:
	@scripts/setup $*

pull: build               ## install the environment that VMs start from
	$(RELEASE)/pyro env pull debian:12

$(STORIES:%=smoke-%): smoke-%: wheel pull pull-build
	scripts/documents docs/use-cases/$*.md

smoke-use-cases: wheel pull pull-build  ## play every story of docs/use-cases on real VMs
	scripts/documents $(STORIES:%=docs/use-cases/%.md)

pull-build: build         ## install the environment with compilers in it
	$(RELEASE)/pyro env pull debian:12-build

bench: build pull         ## measure next to Docker, Bubblewrap and plain QEMU: make bench BENCH="20 --write"
	scripts/with-docker cargo run --quiet --release --locked --package pyro-bench -- $(BENCH)

install: build            ## install `pyro` into PREFIX (~/.local)
	install -d "$(PREFIX)/bin"
	install -m 755 $(RELEASE)/pyro $(RELEASE)/pyro-agent "$(PREFIX)/bin"
	@command -v pyro >/dev/null || echo 'Add it to your PATH:  export PATH="$(PREFIX)/bin:$$PATH"'

uninstall:                ## remove what `make install` put there; docs/install.md has the rest
	rm -f "$(PREFIX)/bin/pyro" "$(PREFIX)/bin/pyro-agent"

ci: lint test             ## what CI runs

clean:
	cargo clean
