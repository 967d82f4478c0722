//! Rules on what may be executed.

use std::fmt;
use std::str::FromStr;

use super::glob;

/// Where a name without a folder is looked for.
const FOLDERS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Stands for any number of arguments.
const REST: &[u8] = b"...";

/// `PATH [ARG...]`: an executable and, if they matter, its arguments.
///
/// - `PATH` without a star is the file that is there, under whatever name it is
///   executed; a name alone is looked for in the usual folders. With `*`
///   (within one folder), `**` and `?` it is matched with the executable's path
///   after all links.
/// - Each `ARG` is matched with one argument, `*` and `?` being any bytes;
///   `...` stands for any number of arguments. Without any `ARG` the arguments
///   do not matter.
///
/// ```
/// use nucleus_supervisor::ExecRule;
///
/// for rule in ["git", "/usr/lib/git-core/**", "/usr/bin/git ... push ..."] {
///     assert_eq!(rule.parse::<ExecRule>()?.to_string(), rule);
/// }
/// # Ok::<(), nucleus_supervisor::ExecRuleError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRule {
    text: String,
    files: Vec<Vec<u8>>,
    is_pattern: bool,
    words: Option<Vec<Vec<u8>>>,
}

/// A rule that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExecRuleError {
    /// Nothing, or blanks alone.
    #[error("the rule is empty; write PATH [ARG...], such as \"/usr/bin/git push ...\"")]
    Empty,
    /// A path that depends on where one stands.
    #[error("{path:?} is neither a name nor an absolute path; write it with its folders from / on")]
    Relative {
        /// The path.
        path: String,
    },
}

impl FromStr for ExecRule {
    type Err = ExecRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_ascii_whitespace();
        let path = words.next().ok_or(ExecRuleError::Empty)?;
        let is_pattern = glob::is_pattern(path.as_bytes());
        let files = match path {
            _ if path.starts_with('/') => vec![path.as_bytes().to_vec()],
            _ if path.contains('/') => {
                return Err(ExecRuleError::Relative {
                    path: path.to_owned(),
                });
            }
            name => FOLDERS
                .iter()
                .map(|folder| format!("{folder}/{name}").into_bytes())
                .collect(),
        };
        let words: Vec<Vec<u8>> = words.map(|word| word.as_bytes().to_vec()).collect();
        Ok(Self {
            text: text.to_owned(),
            files,
            is_pattern,
            words: (!words.is_empty()).then_some(words),
        })
    }
}

impl fmt::Display for ExecRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ExecRule {
    /// Whether it looks at the arguments.
    pub(super) const fn wants_arguments(&self) -> bool {
        self.words.is_some()
    }

    /// Whether it is about this executable, called with these arguments; the
    /// first of them is the name that it is called by. `is_file` says whether
    /// there is the executable at a path.
    pub(super) fn matches(
        &self,
        path: &[u8],
        arguments: &[Vec<u8>],
        is_file: impl Fn(&[u8]) -> bool,
    ) -> bool {
        let about = self.files.iter().any(|file| {
            if self.is_pattern {
                glob::path(file, path)
            } else {
                file == path || is_file(file)
            }
        });
        let given = arguments.get(1..).unwrap_or_default();
        about && self.words.as_ref().is_none_or(|words| fit(words, given))
    }
}

/// As a pattern of bytes, with arguments for bytes.
fn fit(words: &[Vec<u8>], arguments: &[Vec<u8>]) -> bool {
    let mut reached = vec![false; words.len() + 1];
    reached[0] = true;
    let pass = |reached: &mut [bool]| {
        for (at, word) in words.iter().enumerate() {
            if word == REST && reached[at] {
                reached[at + 1] = true;
            }
        }
    };
    pass(&mut reached);
    for argument in arguments {
        let mut next = vec![false; words.len() + 1];
        for (at, word) in words.iter().enumerate() {
            if word == REST {
                next[at + 1] |= reached[at] || reached[at + 1];
            } else {
                next[at + 1] |= reached[at] && glob::word(word, argument);
            }
        }
        reached = next;
        pass(&mut reached);
    }
    reached[words.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: &str, path: &str, arguments: &[&str], expected: bool) {
        let rule: ExecRule = rule.parse().expect("a rule");
        let mut words = vec![b"name".to_vec()];
        words.extend(arguments.iter().map(|word| word.as_bytes().to_vec()));
        // A link from /bin/sh to dash, as Debian has it.
        let is_file = |file: &[u8]| path == "/usr/bin/dash" && file == b"/bin/sh";
        assert_eq!(
            rule.matches(path.as_bytes(), &words, is_file),
            expected,
            "{rule} for {path} {arguments:?}"
        );
    }

    #[test]
    fn executables_are_files_names_or_patterns() {
        check("/usr/bin/git", "/usr/bin/git", &["x"], true);
        check("git", "/usr/bin/git", &[], true);
        check("git", "/tmp/git", &[], false);
        check("/bin/sh", "/usr/bin/dash", &[], true);
        check("sh", "/usr/bin/dash", &[], true);
        check("/usr/lib/**", "/usr/lib/git-core/git", &[], true);
        check("/usr/lib/*", "/usr/lib/git-core/git", &[], false);
        check("python3*", "/usr/bin/python3.11", &[], true);
    }

    #[test]
    fn arguments_are_matched_one_by_one() {
        let git = "/usr/bin/git";
        check("git push", git, &["push"], true);
        check("git push", git, &["push", "origin"], false);
        check("git push ...", git, &["push", "origin"], true);
        check("git push ...", git, &["push"], true);
        check("git push ...", git, &["-c", "a=b", "push"], false);
        check("git ... push ...", git, &["-c", "a=b", "push"], true);
        check("git ... push ...", git, &["pushed"], false);
        check("git push* ...", git, &["pushed"], true);
        check("git push ...", git, &["push origin"], false);
        check("git ... --force", git, &["push", "--force", "x"], false);
        check("git ...", git, &[], true);
    }

    #[test]
    fn what_is_no_rule_is_told() {
        assert_eq!("  ".parse::<ExecRule>(), Err(ExecRuleError::Empty));
        let error = "bin/git".parse::<ExecRule>().expect_err("relative");
        assert!(error.to_string().contains("from / on"), "{error}");
    }
}
