//! The series that are read off a process when somebody asks, and what each says.
//!
//! What is counted along the way has its names where it is counted: `consensus::meter`, `shard::meter`,
//! `gateway::meter`.

macro_rules! series {
    ($($name:ident = $series:literal, $help:literal;)*) => {
        $(pub(crate) const $name: &str = $series;)*

        /// All of them: name, and what it says.
        pub(crate) const SERIES: &[(&str, &str)] = &[$(($series, $help)),*];
    };
}

series! {
    BUILD = "paycore_build_info", "Always 1; what runs here stands in the labels.";
    READY = "paycore_ready", "1 while the process may be sent work, as /readyz says.";
    PULSE = "paycore_pulse_seconds", "How long the serving thread took to answer the admin thread: what every request waits at the least.";

    TERM = "paycore_raft_term", "The shard's current term, as this replica knows it.";
    LEADER = "paycore_raft_leader", "1 on the node that leads the shard and may write, 0 elsewhere.";
    LEADER_KNOWN = "paycore_raft_leader_known", "1 while this replica hears its shard's leader, and a majority of its voters.";
    COMMIT_INDEX = "paycore_raft_commit_index", "The last entry that this replica knows committed.";
    APPLIED_INDEX = "paycore_raft_applied_index", "The last entry that this replica's ledger has applied.";
    LAG = "paycore_raft_replication_lag", "On the shard's leader: entries that the peer is not known to have; 0 elsewhere.";
    CHECKPOINT_LAG = "paycore_raft_checkpoint_lag", "Entries that a restart would have to apply again.";
    SHARD_LOG = "paycore_raft_log_bytes", "Bytes of the node's log that the shard's oldest entry keeps from being removed.";
    DISPUTED = "paycore_replicas_diverged", "1 when no majority of the shard's replicas agrees on the ledger: it writes no more.";
    LOG_FRAMES = "paycore_log_frames_total", "Frames of the log written and synced since the process began.";
    LOG_BYTES = "paycore_log_written_bytes_total", "Bytes of the log written and synced since the process began.";
    ROOM = "paycore_disk_has_room", "0 when the disk is so full that the node proposes nothing.";
    CLOCK = "paycore_clock_alarm", "1 while the clocks are in this state: off (this one), disagree (the only two), jump (most of them).";
    CLOCK_OFF = "paycore_clock_alarm_seconds", "How far off the clocks are that an alarm is about; 0 without one.";

    IMBALANCE = "paycore_ledger_imbalance_minor", "Debit balances less credit balances, in minor units. Anything but 0 is a bug, or a corruption.";
    TOTAL = "paycore_ledger_total_minor", "The sum of all balances of a kind of account, each on its normal side, in minor units.";
    ACCOUNTS = "paycore_ledger_accounts", "Accounts in the shard, closed ones included.";
    LOG_TIME = "paycore_ledger_log_timestamp_seconds", "Log time: the newest stamp that the shard's ledger has seen.";

    OUTBOX = "paycore_outbox_lag_records", "Messages to other shards that these are not known to have applied: payments and their answers.";

    TOLD = "paycore_directory_told_timestamp_seconds", "The last time that the meta group has told the shard, as this replica knows it; 0 before the first.";

    MAILBOX = "paycore_mailbox_depth", "Frames in the mailbox of the shard's actor.";
    WAITING = "paycore_queue_requests", "Requests that wait in the shard to be proposed.";

    GATEWAY_LEADER = "paycore_gateway_leader_known", "1 while the gateway has a stream to the shard's leader.";
    GATEWAY_REQUESTS = "paycore_gateway_requests_in_flight", "Requests whose answers have not been read yet.";
    GATEWAY_BYTES = "paycore_gateway_in_flight_bytes", "What they weigh.";
    DRAINING = "paycore_draining", "1 while the process takes nothing new, because it was asked to stop.";

    CPU = "paycore_process_cpu_seconds_total", "Processor time of the process, user and system.";
    MEMORY = "paycore_process_resident_memory_bytes", "Memory of the process that is in RAM.";
    THREADS = "paycore_process_threads", "Threads of the process.";
    FILES = "paycore_process_open_fds", "Open files of the process.";
    FILES_MAX = "paycore_process_max_fds", "How many files the process may have open.";
    STARTED = "paycore_process_start_timestamp_seconds", "When the process began.";
}
