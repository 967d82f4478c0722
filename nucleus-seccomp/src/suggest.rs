//! "Did you mean ...?"

/// The known name that is nearest to one that is not, if any is near.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may differ; more is another word.
    let limit = name.len() / 3 + 1;
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `unknown WHAT "NAME"; did you mean "NEAREST"?`, or what there is to choose from.
pub(crate) fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> String {
    match nearest(name, known.clone()) {
        Some(nearest) => format!("unknown {what} {name:?}; did you mean {nearest:?}?"),
        None => {
            let known: Vec<&str> = known.collect();
            format!("unknown {what} {name:?}; known are {}", known.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["open", "openat", "openat2", "clone3"];
        assert_eq!(nearest("opneat", known.into_iter()), Some("openat"));
        assert_eq!(nearest("clone4", known.into_iter()), Some("clone3"));
        assert_eq!(nearest("frobnicate", known.into_iter()), None);
    }
}
