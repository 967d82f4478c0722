//! Architecture names of the OCI runtime specification.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Arch;

/// An architecture that a profile may name; nucleus has tables for some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OciArch(&'static str);

/// Of `config-linux.md`, runtime-spec 1.2, and what libseccomp 2.6 adds.
const NAMES: &[&str] = &[
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

impl OciArch {
    /// Such as `SCMP_ARCH_ARM`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }

    /// The architecture, where nucleus has a table for it.
    #[must_use]
    pub fn arch(self) -> Option<Arch> {
        Arch::ALL.into_iter().find(|arch| arch.oci_name() == self.0)
    }

    /// The architecture of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|&&known| known == name)
            .map(|known| Self(known))
    }
}

impl From<Arch> for OciArch {
    fn from(arch: Arch) -> Self {
        Self(arch.oci_name())
    }
}

impl fmt::Display for OciArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Serialize for OciArch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for OciArch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::by_name(&name).ok_or_else(|| {
            de::Error::custom(crate::suggest::unknown(
                "architecture",
                &name,
                NAMES.iter().copied(),
            ))
        })
    }
}
