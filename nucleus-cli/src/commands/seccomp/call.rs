//! System calls with arguments, as users write and read them.

use anyhow::{Context as _, anyhow};
use nucleus_seccomp::{Arch, SeccompData, Syscall};
use serde::Deserialize;
use serde_json::{Value, json};

/// One line of NDJSON: `{"arch":"x86_64","syscall":"openat","args":[3,"0x10"]}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    /// A name, or the `AUDIT_ARCH_*` value.
    arch: Option<Number>,
    /// A name, or `seccomp_data.nr`.
    syscall: Number,
    #[serde(default)]
    args: Vec<Number>,
    ip: Option<Number>,
}

/// A number as JSON has it, or as text: decimal, hexadecimal, or a name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Unsigned(u64),
    Signed(i64),
    Text(String),
}

impl Call {
    /// One from words of a command line.
    pub(crate) fn from_words(arch: Arch, syscall: &str, args: &[String]) -> Self {
        let text = |word: &str| Number::Text(word.to_owned());
        Self {
            arch: Some(text(arch.name())),
            syscall: text(syscall),
            args: args.iter().map(|arg| text(arg)).collect(),
            ip: None,
        }
    }

    /// What the kernel would hand to a filter; without an architecture, of
    /// this one.
    pub(crate) fn data(&self, default: Arch) -> anyhow::Result<SeccompData> {
        let (audit, arch) = match &self.arch {
            None => (default.audit(), Some(default)),
            Some(Number::Text(name)) => match name.parse::<Arch>() {
                Ok(arch) => (arch.audit(), Some(arch)),
                Err(unknown) => match number(name) {
                    Some(audit) => (narrow(audit).context("arch")?, None),
                    None => return Err(unknown.into()),
                },
            },
            Some(other) => (narrow(other.value()?).context("arch")?, None),
        };
        let nr = match &self.syscall {
            Number::Text(name) => {
                let arch = arch.or_else(|| Arch::of(audit, 0));
                let named = arch.and_then(|arch| Syscall::by_name(arch, name));
                match (named, number(name)) {
                    (Some(call), _) => call.number(),
                    (None, Some(nr)) => narrow(nr).context("syscall")?,
                    (None, None) => {
                        return Err(match arch {
                            Some(arch) => unknown(arch, name),
                            None => anyhow!(
                                "architecture {audit:#x} has no table here; give the number of {name:?}"
                            ),
                        });
                    }
                }
            }
            other => narrow(other.value()?).context("syscall")?,
        };
        if self.args.len() > 6 {
            return Err(anyhow!(
                "{} arguments; a system call has at most 6",
                self.args.len()
            ));
        }
        let mut args = [0; 6];
        for (to, from) in args.iter_mut().zip(&self.args) {
            *to = from.value()?;
        }
        Ok(SeccompData {
            nr,
            arch: audit,
            instruction_pointer: self.ip.as_ref().map_or(Ok(0), Number::value)?,
            args,
        })
    }
}

impl Number {
    fn value(&self) -> anyhow::Result<u64> {
        match self {
            Self::Unsigned(value) => Ok(*value),
            Self::Signed(value) => Ok(value.cast_unsigned()),
            Self::Text(text) => number(text).ok_or_else(|| {
                anyhow!("{text:?} is no number; write decimal, or hexadecimal with 0x")
            }),
        }
    }
}

/// A 64-bit register; negative numbers as their two's complement.
fn number(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    text.parse()
        .ok()
        .or_else(|| text.parse::<i64>().ok().map(i64::cast_unsigned))
}

fn narrow(value: u64) -> anyhow::Result<u32> {
    u32::try_from(value).with_context(|| format!("{value} does not fit into 32 bits"))
}

/// `openat(0x0, 0x1, 0x0, 0x0, 0x0, 0x0) on x86_64, number 257`.
pub(crate) fn describe(data: &SeccompData) -> String {
    let args = data.args.map(|arg| format!("{arg:#x}")).join(", ");
    let (name, arch) = match data.syscall() {
        Some(call) => (call.to_string(), call.arch().to_string()),
        None => (
            format!("#{}", data.nr),
            format!("architecture {:#x}", data.arch),
        ),
    };
    let ip = match data.instruction_pointer {
        0 => String::new(),
        ip => format!(", called from {ip:#x}"),
    };
    format!("{name}({args}) on {arch}, number {}{ip}", data.nr)
}

/// The call as [`Call`] reads it, and `nr`.
pub(crate) fn to_json(data: &SeccompData) -> Value {
    let call = data.syscall();
    json!({
        "arch": call.map_or_else(|| format!("{:#x}", data.arch), |call| call.arch().to_string()),
        "syscall": match call.and_then(Syscall::name) {
            Some(name) => json!(name),
            None => json!(data.nr),
        },
        "nr": data.nr,
        "args": data.args,
        "ip": data.instruction_pointer,
    })
}
/// There is no call of this name.
pub(super) fn unknown(arch: Arch, name: &str) -> anyhow::Error {
    match Syscall::nearest(arch, name) {
        Some(nearest) => anyhow!("{arch} has no system call {name:?}; did you mean {nearest}?"),
        None => {
            anyhow!("{arch} has no system call {name:?}; nucleus seccomp list shows those it has")
        }
    }
}
