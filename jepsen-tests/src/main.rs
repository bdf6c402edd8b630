//! `jepsen`: a cluster of real processes under load, with faults that prove that they bit, and checkers that were shown
//! mistakes before they judge.
//!
//! It is a black box's tester: it starts `paycore`'s own processes, speaks to them through the gateways' doors and the
//! command line, and knows nothing of what is inside. What it saw is a [`history`]; whether that is right is for the
//! [`checkers`] alone, who read it from the run's folder and can do so again at any time.

mod caller;
mod checkers;
mod cli;
mod history;
mod hosts;
mod kills;
mod nemesis;
mod recorder;
mod report;
mod run;
mod vacuity;
mod workload;

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(cli::main())
}
