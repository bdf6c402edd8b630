//! Colours, or none.

/// Paints words for one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// With `on` false, words stay as they are.
    pub(crate) const fn new(on: bool) -> Self {
        Self { on }
    }

    /// Whether words are painted.
    #[cfg(test)]
    pub(crate) const fn is_on(self) -> bool {
        self.on
    }

    /// Something that went as it should.
    pub(crate) fn good(self, words: &str) -> String {
        self.with("1;32", words)
    }

    /// Something that failed.
    pub(crate) fn bad(self, words: &str) -> String {
        self.with("1;31", words)
    }

    /// Something to look at twice.
    pub(crate) fn warn(self, words: &str) -> String {
        self.with("1;33", words)
    }

    /// Something that matters.
    pub(crate) fn bold(self, words: &str) -> String {
        self.with("1", words)
    }

    /// Something that may be read last.
    pub(crate) fn dim(self, words: &str) -> String {
        self.with("2", words)
    }

    fn with(self, code: &str, words: &str) -> String {
        if self.on { format!("\x1b[{code}m{words}\x1b[0m") } else { words.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_without_colour_are_the_words() {
        assert_eq!(Paint::new(false).bad("no"), "no");
        assert_eq!(Paint::new(true).bad("no"), "\u{1b}[1;31mno\u{1b}[0m");
    }
}
