//! Runs a program in the default sandbox and exits as it did:
//! `cargo run -p nucleus-core --example sandbox -- sh -c 'id; ls /'`.

use std::process::ExitCode;

use nucleus_core::{Command, Isolation, View};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let program = args.next().unwrap_or_else(|| "id".into());
    let mut command = Command::new(program);
    command.args(args).view(View::Isolated(Isolation::new()));
    match command.status() {
        Ok(status) => ExitCode::from(
            status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(128),
        ),
        Err(error) => {
            eprintln!("sandbox: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
