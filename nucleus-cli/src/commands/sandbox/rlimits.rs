//! Limits of each process (setrlimit(2)).

use nucleus_core::{Isolation, Resource};

use super::value::size;

/// Limits of each process.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Limits of each process")]
pub(crate) struct RlimitArgs {
    /// Limit a resource: as, core (0 by default), cpu, fsize, nofile, nproc (4096
    /// by default, of the sandbox together) or stack
    #[arg(long = "rlimit", value_name = "NAME=N", value_parser = limit)]
    limits: Vec<(Resource, u64)>,
}

impl RlimitArgs {
    /// The sandbox with these limits.
    pub(crate) fn apply(&self, mut sandbox: Isolation) -> Isolation {
        for (resource, value) in &self.limits {
            sandbox = sandbox.limit(*resource, *value);
        }
        sandbox
    }
}

fn limit(text: &str) -> Result<(Resource, u64), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("a limit is written NAME=N, such as nofile=256")?;
    let resource = match name {
        "as" => Resource::AddressSpace,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "fsize" => Resource::FileSize,
        "nofile" => Resource::OpenFiles,
        "nproc" => Resource::Processes,
        "stack" => Resource::Stack,
        _ => {
            return Err(format!(
                "{name:?} is no limit; there are as, core, cpu, fsize, nofile, nproc and stack"
            ));
        }
    };
    match value {
        "0" => Ok((resource, 0)),
        _ => size(value).map(|value| (resource, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_checked() {
        assert_eq!(limit("core=0"), Ok((Resource::Core, 0)));
        assert!(limit("colour=1").is_err());
    }
}
