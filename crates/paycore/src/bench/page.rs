//! `report.html`: the run as a page. One file; it asks the network for nothing.

use serde::Serialize;

use super::environment::Environment;
use super::summary::Summary;
use super::tally::Second;

/// The page; its script draws what stands in the data.
const PAGE: &str = include_str!("page.html");

/// Where the data goes.
const DATA: &str = "\"DATA\"";

/// What the page shows.
#[derive(Serialize)]
struct Data<'a> {
    summary: &'a Summary,
    seconds: &'a [Second],
    environment: &'a Environment,
}

/// Writes the page.
pub(super) fn write(
    summary: &Summary,
    seconds: &[Second],
    environment: &Environment,
) -> anyhow::Result<String> {
    let data = serde_json::to_string(&Data { summary, seconds, environment })?;
    // Within a script, `</` would end it.
    Ok(PAGE.replacen(DATA, &data.replace("</", "<\\/"), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_its_data_and_asks_nobody() {
        let environment = Environment::gather(std::path::Path::new("."));
        let page = write(&Summary::default(), &[Second::default()], &environment).unwrap();
        assert!(page.contains("\"posted_per_s\":0") && !page.contains(DATA));
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            let allowed = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!allowed.contains(outside), "{outside}");
        }
    }
}
