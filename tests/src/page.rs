//! Pages of the documentation that hold lists of what is built or was seen, each between two marks.

/// The page with a list between its two marks.
pub fn with(page: &str, name: &str, list: &str) -> String {
    let begin = format!("<!-- built: {name} -->\n");
    let (before, rest) = page
        .split_once(&begin)
        .unwrap_or_else(|| panic!("the page has no `{}`", begin.trim()));
    let (_, after) = rest
        .split_once("<!-- end -->")
        .unwrap_or_else(|| panic!("the list `{name}` has no end"));
    format!("{before}{begin}\n{list}\n<!-- end -->{after}")
}
