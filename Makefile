# One-line doors into cargo and xtask. Logic lives there, never here.
.PHONY: up test check bench load faults tamper setup clean

# A running system with a worked example; Ctrl-C stops all of it.
up: setup
	@cargo run --release --package logline-cli -- dev --example

# Everything that must hold before a change is shared.
test: setup
	@cargo xtask check

# The quick half, for every commit.
check:
	@cargo xtask check --quick

# One table: measure, the limit beside it, ours, ratio.
bench: setup
	@cargo xtask bench

# Load over HTTP and the bus for some minutes: one table, and a failure where a level of service breaks.
load: setup
	@cargo xtask load

# Kills, freezes and restarts the parts of the system at random, and counts what was promised.
faults: setup
	@cargo xtask faults

tamper: setup
	@cargo xtask tamper

# PostgreSQL, nats-server and their clients, where they are missing.
setup:
	@sh deploy/setup.sh

# Built files alone; the data of `logline dev` is not built.
clean:
	@cargo clean
