//! Programs for other programs: JSON and C.

use std::fmt::Write as _;

use serde_json::json;

use super::{context, text};
use crate::Program;

impl Program {
    /// One object: `{"length":N,"instructions":[{"code":32,"jt":0,"jf":0,"k":4,"text":"ld [arch]"},…]}`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let instructions: Vec<_> = self
            .texts()
            .zip(self.insns())
            .map(|(text, insn)| {
                json!({
                    "code": insn.code,
                    "jt": insn.jt,
                    "jf": insn.jf,
                    "k": insn.k,
                    "text": text,
                })
            })
            .collect();
        json!({ "length": self.insns().len(), "instructions": instructions })
    }

    /// A C header that defines `static const struct sock_filter NAME[]`.
    ///
    /// Characters of `name` that cannot be in a C identifier become `_`.
    #[must_use]
    pub fn to_c_header(&self, name: &str) -> String {
        let name = identifier(name);
        let mut header = format!(
            "#include <linux/filter.h>\n\nstatic const struct sock_filter {name}[{}] = {{\n",
            self.insns().len()
        );
        for (text, insn) in self.texts().zip(self.insns()) {
            // Writing to a String cannot fail.
            let _ = writeln!(
                header,
                "\t{{ {:#06x}, {:>3}, {:>3}, {:#010x} }}, /* {text} */",
                insn.code, insn.jt, insn.jf, insn.k
            );
        }
        header.push_str("};\n");
        header
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        context::contexts(self.insns())
            .into_iter()
            .zip(self.insns())
            .enumerate()
            .map(|(at, (context, insn))| text(at, *insn, context))
    }
}

fn identifier(name: &str) -> String {
    let mut identifier: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if identifier.is_empty() || identifier.starts_with(|c: char| c.is_ascii_digit()) {
        identifier.insert(0, '_');
    }
    identifier
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_header() {
        assert_eq!(
            Program::trace_all().to_c_header("my-filter"),
            "#include <linux/filter.h>\n\nstatic const struct sock_filter my_filter[1] = {\n\
             \t{ 0x0006,   0,   0, 0x7ff00000 }, /* ret  trace(0) */\n};\n"
        );
        assert_eq!(identifier("1x"), "_1x");
    }

    #[test]
    fn json() {
        assert_eq!(
            Program::trace_all().to_json().to_string(),
            r#"{"instructions":[{"code":6,"jf":0,"jt":0,"k":2146435072,"text":"ret  trace(0)"}],"length":1}"#
        );
    }
}
