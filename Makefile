.PHONY: verify fix sim loom planted next-level upgrade membership failpoints bench jepsen

# Changes nothing; the same lines that CI runs.
verify:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace --all-targets --features sim/run -- -D warnings
	cargo test --workspace
	cargo test --workspace --features sim/run --test seeds
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Repairs what can be repaired without thinking.
fix:
	cargo fmt --all
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# Every interleaving of the group commit.
loom:
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p group-commit --release

# The binaries with failpoints and planted bugs, beside the ordinary ones.
planted:
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/.ci/planted cargo build --workspace --bin paycore
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/.ci/planted cargo build --workspace --features sim/run --bin sim
	mkdir -p target/planted
	cp target/debug/paycore target/debug/sim target/planted/

# The next release's binary, beside the ordinary one.
next-level:
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/.ci/next-level cargo build --workspace --bin paycore
	mkdir -p target/next-level
	cp target/debug/paycore target/next-level/

# What the next release brings; and it is rolled out, back and out again over a cluster under load.
upgrade: next-level
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/.ci/next-level cargo test --workspace --test next_level
	PAYCORE_NEXT_LEVEL=$(CURDIR)/target/next-level/paycore cargo test --workspace --test operations release -- --nocapture

# Random steps of operating a cluster under load, STEPS of them at the least, and the next release at the end.
STEPS ?= 24
membership: next-level
	PAYCORE_MEMBERSHIP_STEPS=$(STEPS) PAYCORE_NEXT_LEVEL=$(CURDIR)/target/next-level/paycore \
		cargo test --workspace --test operations random_steps -- --nocapture

# A process dies at every step of money between shards, and of every operation of a cluster.
failpoints: planted
	PAYCORE_PLANTED=$(CURDIR)/target/planted/paycore cargo test --workspace --test failpoints --test cluster_failpoints

# Full batches over three real processes, with the leader killed on the way.
bench:
	cargo build --release
	target/release/paycore bench transfer-uniform --spawn 3 --duration 30s --chaos leader-kill@10s --out runs/bench

# Whole clusters from seeds, in one thread each: SEEDS of them, or the one SEED, and what it does.
SEEDS ?= 50
sim:
	cargo build --workspace --features sim/run --bin sim
	target/debug/sim $(if $(SEED),--seed $(SEED) --print,--seeds $(SEEDS))

jepsen:
	@echo "the black-box suite is not here yet: jepsen-tests/README.md says what it will be"; exit 1
