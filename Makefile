# The everyday verbs. Each does the set-up it needs, and is fast when that is done.

TRIPLE  := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
RELEASE := target/$(TRIPLE)/release
PREFIX  ?= $(HOME)/.local

.PHONY: run test test-fast fuzz lint build setup pull generate bench install ci clean

run: build                ## run `git --version` in a fresh Debian VM
	$(RELEASE)/pyro run debian:12 -- git --version

test: build pull          ## run every test, real VMs included
	scripts/test all

test-fast: setup          ## run the tests that need no VM (seconds, once built)
	scripts/test fast

fuzz: setup               ## feed the parsers of guests' bytes with damaged input, a minute each
	scripts/fuzz 60

lint: setup               ## check formatting, clippy and the arrows between crates
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features pyro-shim/real-vms --locked -- --deny warnings
	cargo xtask arrows

build: setup              ## build `pyro` and the guest agent
	cargo build --release --locked --package pyro-cli --package pyro-agent

setup:                    ## install what is missing on this machine
	@scripts/setup

pull: build               ## install the environment that VMs start from
	$(RELEASE)/pyro env pull debian:12

bench: build pull         ## measure next to Docker, Bubblewrap and plain QEMU: make bench BENCH="20 --write"
	scripts/with-docker cargo xtask bench $(BENCH)

install: build            ## install `pyro` into PREFIX (~/.local)
	install -d "$(PREFIX)/bin"
	install -m 755 $(RELEASE)/pyro $(RELEASE)/pyro-agent "$(PREFIX)/bin"
	@command -v pyro >/dev/null || echo 'Add it to your PATH:  export PATH="$(PREFIX)/bin:$$PATH"'

ci: lint test             ## what CI runs

clean:
	cargo clean
