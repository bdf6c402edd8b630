//! What a deadline says.

/// It was not done in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late;
