//! One binary: the cluster's processes, and the command line of everybody who uses them.
//!
//! What is here only reads flags, asks, and shows. It decides nothing about money: every command is one request
//! through the public door, under a key that its caller can repeat.

mod backup;
mod bench;
mod cli;
mod config;
mod context;
mod demo;
mod exit;
mod import;
mod keys;
mod output;
mod server;
mod stamp;
mod verify;

/// Requests are many small allocations of short life, made on one thread and dropped on another; mimalloc costs about
/// a fifth less CPU per request there than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    #[cfg(planted)]
    ledger::Plant::choose();
    // The bench's children end with it, however it ends.
    if let Err(gone) = bench::follow_parent() {
        let failure = exit::Failure::from(gone);
        return std::process::ExitCode::from(failure.exit());
    }
    cli::main()
}
