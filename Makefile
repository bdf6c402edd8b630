.PHONY: verify fix seeds sim loom planted plants next-level upgrade membership failpoints bench jepsen

# A simulated cluster is all computation: optimised, a seed takes a ninth of the time.
SIM_PROFILE = --config profile.dev.package.consensus.opt-level=2 --config profile.dev.package.ledger.opt-level=2 \
	--config profile.dev.package.shard.opt-level=1 --config profile.dev.package.gateway.opt-level=1 \
	--config profile.dev.package.sim.opt-level=1

# Changes nothing; of what CI runs, that which takes minutes.
verify: seeds
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features sim/run -- -D warnings
	cargo test --workspace
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
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/.ci/planted cargo build --workspace --features sim/run --bin sim $(SIM_PROFILE)
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

# A process dies at every step of money between shards, and of every operation of a cluster. Both mostly wait for elections,
# so they run beside each other.
failpoints: planted
	cargo test --workspace --test failpoints --test cluster_failpoints --no-run
	PAYCORE_PLANTED=$(CURDIR)/target/planted/paycore; export PAYCORE_PLANTED; \
		cargo test --workspace --test failpoints & money=$$!; \
		cargo test --workspace --test cluster_failpoints; cluster=$$?; wait $$money && exit $$cluster

# Each planted bug is caught: the simulator's tests and the black box's are proven before they are trusted.
plants: planted
	PAYCORE_PLANTED_SIM=$(CURDIR)/target/planted/sim cargo test --workspace --test planted -- --nocapture

# The same work by us and by peers, in turn: all rows, or those named in ROWS. Hours; the machine must be quiet.
bench:
	cargo build --release
	-bench/peers/install
	bench/run $(ROWS)

# The seeds that failed once, some that never did, and equal traces in different processes.
seeds:
	cargo test --workspace --features sim/run --test seeds $(SIM_PROFILE)

# Whole clusters from seeds, in one thread each: SEEDS of them; or as many as fit into FOR, and AT_LEAST so many that count; or
# the one SEED, and what it does. OUT is a directory for what came of each.
SEEDS ?= 50
sim:
	cargo build --workspace --features sim/run --bin sim $(SIM_PROFILE)
	target/debug/sim $(if $(SEED),--seed $(SEED) --print,$(if $(FOR),--for $(FOR) $(if $(AT_LEAST),--at-least $(AT_LEAST)),--seeds $(SEEDS)) $(if $(OUT),--out $(OUT)))

# Real processes under faults, from outside: everything, for hours. `jepsen short` is CI's two minutes.
jepsen: planted
	cargo build --release --workspace --bin paycore --bin jepsen
	target/release/jepsen matrix --planted target/planted/paycore --out runs/jepsen
