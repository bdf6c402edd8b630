use super::*;

/// Every command that does something, with the words that lead to it.
fn leaves(command: &clap::Command, path: &str, see: &mut impl FnMut(&str, &clap::Command)) {
    if command.get_subcommands().next().is_none() {
        see(path, command);
    }
    for sub in command.get_subcommands() {
        leaves(sub, &format!("{path} {}", sub.get_name()), see);
    }
}

#[test]
fn the_commands_fit_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_commands_help_has_an_example_that_parses() {
    let mut count = 0;
    leaves(&Cli::command(), "paycore", &mut |path, command| {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let example =
            after.strip_prefix("Example:\n  ").unwrap_or_else(|| panic!("{path}: no example"));
        assert!(example.starts_with(path), "{path}: the example is of another command: {example}");
        let words = example.split_whitespace().map(std::ffi::OsString::from);
        let parsed = parse(words);
        assert!(parsed.is_ok(), "{path}: {}", parsed.unwrap_err());
        assert!(command.get_about().is_some(), "{path}: no help");
        count += 1;
    });
    assert!(count >= 4, "{count} commands");
}

#[test]
fn every_flag_has_help() {
    leaves(&Cli::command(), "paycore", &mut |path, command| {
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{path}: {} has no help", arg.get_id());
        }
    });
}
