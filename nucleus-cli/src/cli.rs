//! The command line, and the way from arguments to an exit code.

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands;
use crate::exit::Exit;
use crate::{report, start};

/// Runs any program in a tight sandbox, learns which system calls it needs,
/// enforces the smallest profile that works, and explains every denial.
#[derive(Debug, Parser)]
#[command(name = "nucleus", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(commands::run::Args),
    Trace(commands::trace::Args),
    Learn(commands::learn::Args),
    Explain(commands::explain::Args),
    /// Make, check and look at seccomp profiles and filters
    #[command(subcommand)]
    Seccomp(commands::seccomp::Command),
    /// Check the rules of a policy file
    #[command(subcommand)]
    Policy(commands::policy::Command),
    /// See what filters deny, of any process
    #[command(subcommand)]
    Audit(commands::audit::Command),
    /// Finish or forget commits to a workspace that were interrupted
    #[command(subcommand)]
    Workspace(commands::workspace::Command),
    Doctor(commands::doctor::Args),
    #[command(hide = true)]
    CgroupJanitor(commands::sandbox::cgroup::JanitorArgs),
}

/// The same command line with `run` alone. To define all the others takes
/// longer than to read and to plan what `run` does; a `run` without options is
/// not even parsed.
#[derive(Debug, Parser)]
#[command(name = "nucleus", version)]
struct RunAlone {
    #[command(subcommand)]
    command: OnlyRun,
}

#[derive(Debug, Subcommand)]
enum OnlyRun {
    Run(commands::run::Args),
}

/// The definition of the command line, for man pages and shell completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// The life of this process: runs its command line, and ends.
///
/// To be called once, by `main`, before anything else is done. Memory is left
/// to the end of the process, so what it is the end of must not be dropped here.
pub fn main() -> ! {
    let exit = start::prepare().and_then(|()| match parse() {
        Ok(command) => run(&command),
        Err(error) => Ok(usage(&error)),
    });
    let exit = exit.unwrap_or_else(|error| {
        report::error(&error);
        Exit::of(&error)
    });
    // Writes out what is left in the buffer of standard output.
    std::process::exit(exit.code().into())
}

fn parse() -> Result<Command, clap::Error> {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_none_or(|name| name != "run") {
        return Ok(Cli::try_parse()?.command);
    }
    if words.next().is_some_and(|word| word == "--") {
        let command: Vec<_> = words.collect();
        if !command.is_empty() {
            return Ok(Command::Run(commands::run::Args::of(command)));
        }
    }
    let OnlyRun::Run(args) = RunAlone::try_parse()?.command;
    Ok(Command::Run(args))
}

fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Run(args) => commands::run::run(args),
        Command::Trace(args) => commands::trace::run(args),
        Command::Learn(args) => commands::learn::run(args),
        Command::Explain(args) => commands::explain::run(args),
        Command::Seccomp(command) => commands::seccomp::run(command),
        Command::Policy(command) => commands::policy::run(command),
        Command::Audit(command) => commands::audit::run(command),
        Command::Workspace(command) => commands::workspace::run(command),
        Command::Doctor(args) => commands::doctor::run(args),
        Command::CgroupJanitor(args) => commands::sandbox::cgroup::janitor(args),
    }
}

/// Help and version are successes; a wrong command line is a failure of
/// nucleus (125), so that it is never taken for the program's own code.
fn usage(error: &clap::Error) -> Exit {
    if error.print().is_err() || error.use_stderr() {
        return Exit::FAILURE;
    }
    Exit::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_alone_is_the_run_of_all_commands() {
        let definitions = [Cli::command(), RunAlone::command()].map(|mut all| {
            all.build();
            let run = all.find_subcommand_mut("run").unwrap();
            (run.render_long_help().to_string(), format!("{run:?}"))
        });
        assert_eq!(definitions[0], definitions[1]);
    }

    #[test]
    fn a_run_without_options_is_what_would_be_parsed() {
        let words = ["nucleus", "run", "--", "ls", "--", "-l"];
        let OnlyRun::Run(parsed) = RunAlone::try_parse_from(words).unwrap().command;
        let command = words[3..].iter().map(Into::into).collect();
        let made = commands::run::Args::of(command);
        assert_eq!(format!("{made:?}"), format!("{parsed:?}"));
    }

    #[test]
    fn errors_of_run_alone_are_those_of_all_commands() {
        for words in [
            &["nucleus", "run"][..],
            &["nucleus", "run", "--seccomp-mode", "off", "--", "ls"],
            &["nucleus", "run", "--host", "--workspace", ".", "--", "ls"],
        ] {
            let all = Cli::try_parse_from(words).unwrap_err().to_string();
            let alone = RunAlone::try_parse_from(words).unwrap_err().to_string();
            assert_eq!(all, alone);
        }
    }
}
