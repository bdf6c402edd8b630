//! A typed confirmation, before anything is changed.

use std::io::{IsTerminal, stdin};

use crate::exit::Failure;
use crate::output::Screen;

/// Asks for a word, unless `yes` was said. Without a terminal there is nobody to ask.
///
/// # Errors
/// When another word was typed, or nobody can type.
pub(super) fn confirm(screen: &Screen, what: &str, word: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !stdin().is_terminal() {
        return Err(Failure::usage(format!("this will {what}; say --yes to do it")));
    }
    screen.warn(format_args!("this will {what}. Type {word} to go on:"));
    let mut typed = String::new();
    stdin().read_line(&mut typed).map_err(|why| Failure::io("standard input", &why))?;
    if typed.trim() == word {
        return Ok(());
    }
    Err(Failure::usage("nothing was changed"))
}
