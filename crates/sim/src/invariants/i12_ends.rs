//! I12: no exit from a final state. A hold is ended once, and touched by nobody after its time; no more is posted of it than
//! was held; a transfer is undone once.

use super::View;

pub(super) fn check(view: &View<'_>) -> Vec<String> {
    let Some(effects) = view.effects else { return Vec::new() };
    let mut broken = Vec::new();
    for (id, hold) in &effects.holds {
        let is_late = hold.touched_at >= hold.expires_at;
        if hold.ends > 1 || is_late || hold.remaining().is_none() {
            broken.push(format!("I12: {id} was {hold:?}"));
        }
    }
    let often = effects.undone.iter().filter(|(_, count)| **count > 1);
    broken
        .extend(often.map(|(transfer, count)| format!("I12: {transfer} was undone {count} times")));
    broken
}
