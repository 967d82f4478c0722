//! Patterns of bytes.

/// Whether a path matches: `*` stands for any bytes but `/`, `**` for any, `?`
/// for one that is not `/`.
pub(super) fn path(pattern: &[u8], path: &[u8]) -> bool {
    matches(pattern, path, |byte| byte != b'/')
}

/// Whether an argument matches: `*` stands for any bytes, `?` for one.
pub(super) fn word(pattern: &[u8], word: &[u8]) -> bool {
    matches(pattern, word, |_| true)
}

/// Whether a pattern stands for more than itself.
pub(super) fn is_pattern(pattern: &[u8]) -> bool {
    pattern.iter().any(|byte| matches!(byte, b'*' | b'?'))
}

/// Follows all ways to match at once, so that no pattern takes more than its
/// length times the text's.
fn matches(pattern: &[u8], text: &[u8], one: fn(u8) -> bool) -> bool {
    // reached[p]: the pattern's first p bytes match the text up to here.
    let mut reached = vec![false; pattern.len() + 1];
    reached[0] = true;
    pass_stars(pattern, &mut reached);
    for &byte in text {
        let mut next = vec![false; pattern.len() + 1];
        for (at, &wanted) in pattern.iter().enumerate() {
            match wanted {
                b'*' => {
                    let any = pattern.get(at + 1) == Some(&b'*')
                        || at
                            .checked_sub(1)
                            .is_some_and(|before| pattern[before] == b'*');
                    // What a star has matched so far it may go on to match.
                    next[at + 1] |= reached[at + 1] && (any || one(byte));
                    next[at + 1] |= reached[at] && (any || one(byte));
                }
                b'?' => next[at + 1] |= reached[at] && one(byte),
                _ => next[at + 1] |= reached[at] && byte == wanted,
            }
        }
        reached = next;
        pass_stars(pattern, &mut reached);
    }
    reached[pattern.len()]
}

/// A star matches nothing, too.
fn pass_stars(pattern: &[u8], reached: &mut [bool]) {
    for (at, &wanted) in pattern.iter().enumerate() {
        if wanted == b'*' && reached[at] {
            reached[at + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_in_their_folder_unless_doubled() {
        let check = |pattern: &str, text: &str, expected| {
            assert_eq!(
                path(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        };
        check("/usr/bin/git", "/usr/bin/git", true);
        check("/usr/bin/git", "/usr/bin/gitk", false);
        check("/usr/bin/git*", "/usr/bin/gitk", true);
        check("/usr/bin/*", "/usr/bin/", true);
        check("/usr/bin/*", "/usr/bin/a/b", false);
        check("/usr/**", "/usr/bin/a/b", true);
        check("/**/git", "/usr/bin/git", true);
        check("/**/git", "/git", false);
        check("/usr/?in/x", "/usr/bin/x", true);
        check("/usr?bin/x", "/usr/bin/x", false);
        check("*", "", true);
        check("", "", true);
        check("", "a", false);
        check("a*b*c", "a-b-b-c", true);
        check("a*b*c", "a-b-b-d", false);
    }

    #[test]
    fn in_arguments_a_star_is_any_byte() {
        assert!(word(b"--out=*", b"--out=/a/\xff"));
        assert!(!word(b"--out=?", b"--out="));
        assert!(is_pattern(b"a?") && !is_pattern(b"a"));
    }

    #[test]
    fn a_hostile_pattern_is_not_slow() {
        let pattern = b"*a".repeat(200);
        assert!(!word(&pattern, &[b'a'; 4000].map(|_| b'b')));
    }
}
