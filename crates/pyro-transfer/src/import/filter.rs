use super::patterns::Patterns;

/// What of a source is left out, beside what its own `.pyroignore` files leave out.
#[derive(Debug)]
pub struct Filter {
    /// What is left out, whatever files of the source say.
    pub patterns: Patterns,
    /// Whether what git ignores is left out as well.
    pub gitignore: bool,
}

impl Filter {
    /// One that leaves out nothing.
    pub fn none() -> Self {
        Self {
            patterns: Patterns::read([], |_| {}),
            gitignore: false,
        }
    }
}
