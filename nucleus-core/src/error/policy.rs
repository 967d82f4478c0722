//! What is wrong in a policy.

/// What is wrong in a policy file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It is not TOML, or not of the right form.
    #[error("line {line}, column {column}: {message}")]
    Form {
        /// The line, from 1.
        line: usize,
        /// The byte in the line, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },

    /// It would have no effect.
    #[error("the policy restricts nothing; give it a [[path]], ports in [tcp], or scopes")]
    Nothing,
}

impl PolicyError {
    pub(crate) fn new(text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        Self::at(text, at, error.message().to_owned())
    }

    /// Something wrong with what begins at this byte of the text.
    pub(crate) fn at(text: &str, at: usize, message: String) -> Self {
        let before = text.as_bytes().get(..at).unwrap_or_default();
        let line_start = before.iter().rposition(|&byte| byte == b'\n');
        Self::Form {
            line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
            column: at - line_start.map_or(0, |newline| newline + 1) + 1,
            message,
        }
    }

    pub(crate) const fn nothing() -> Self {
        Self::Nothing
    }
}

/// A name that no capability has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no capability is called {name:?}; {}",
    near.as_ref().map_or_else(
        || "capabilities(7) lists them, such as net_bind_service".to_owned(),
        |near| format!("did you mean {near:?}?"),
    )
)]
pub struct UnknownCapability {
    /// The name.
    pub name: String,
    /// A known one like it.
    pub near: Option<String>,
}
