//! `bench notify`: what trapped calls cost next to the least that they can cost,
//! by the benchmark of the crate.

use anyhow::Result;

use super::Setting;
use crate::shell::{self, cargo};

pub(crate) fn run(setting: &Setting) -> Result<()> {
    let bench = [
        "bench",
        "--locked",
        "--package",
        "nucleus-supervisor",
        "--bench",
        "notify",
        "--",
        "--nucleus",
    ];
    shell::run(cargo().args(bench).arg(&setting.nucleus))
}
