//! `bench seccomp`: filters of nucleus next to libseccomp's and a plain list,
//! by the benchmark of the crate.

use anyhow::Result;

use super::Setting;
use crate::shell::{self, cargo};

pub(crate) fn run(_: &Setting) -> Result<()> {
    shell::run(cargo().args([
        "bench",
        "--locked",
        "--package",
        "nucleus-seccomp",
        "--bench",
        "filters",
    ]))
}
