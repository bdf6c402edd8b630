//! Runs seeds: `sim --seed 7 --print`, or `sim --seeds 200 --from 1`.

use std::process::ExitCode;

use clap::Parser;

/// Runs whole clusters from seeds, one after the other, and says what does not hold.
#[derive(Parser)]
struct Flags {
    /// Only this one.
    #[arg(long)]
    seed: Option<u64>,
    /// Print what happens.
    #[arg(long)]
    print: bool,
    /// How many.
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
}

#[expect(clippy::print_stdout, reason = "it is a program that tells")]
fn main() -> ExitCode {
    #[cfg(planted)]
    ledger::Plant::choose();
    let flags = Flags::parse();
    let range = match flags.seed {
        Some(seed) => seed..=seed,
        None => flags.from..=flags.from.saturating_add(flags.seeds).saturating_sub(1),
    };
    let mut failed = 0_u64;
    for seed in range {
        let report = sim::run(seed, flags.print);
        println!("{report}");
        failed = failed.saturating_add(u64::from(!report.broken.is_empty()));
    }
    if failed > 0 {
        println!("{failed} seeds failed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
