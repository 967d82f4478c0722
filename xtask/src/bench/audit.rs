//! `bench audit`: the delay of a denial in a storm of others', and what a reader
//! of records costs, by the benchmark of the crate.

use anyhow::Result;

use super::Setting;
use crate::shell::{self, cargo};

pub(crate) fn run(_: &Setting) -> Result<()> {
    shell::run(cargo().args([
        "bench",
        "--locked",
        "--package",
        "nucleus-audit",
        "--bench",
        "records",
    ]))
}
