//! A cgroup of one's own from the systemd manager of a user who has none.
//!
//! A session's cgroup is root's; below `user@UID.service` the user's manager
//! makes cgroups as it likes. Asked for a *scope* with `Delegate=`
//! (org.freedesktop.systemd1(5), `StartTransientUnit`), it moves a process into
//! a new one that is that process's to divide. It asks the system's manager
//! for the move itself, because the kernel lets nobody move a process out of a
//! cgroup that is not theirs.

mod connection;
mod wire;

use std::env;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use self::connection::{Connection, malformed};
use self::wire::{Kind, Message, Method, Writer};
use crate::place::limit_set;
use crate::{Error, Host};

const MANAGER: &str = "org.freedesktop.systemd1.Manager";

const START: Method = Method {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: MANAGER,
    member: "StartTransientUnit",
    signature: "ssa(sv)a(sa(sv))",
};

const BUS: &str = "org.freedesktop.DBus";

const HELLO: Method = Method {
    destination: BUS,
    path: "/org/freedesktop/DBus",
    interface: BUS,
    member: "Hello",
    signature: "",
};

const ADD_MATCH: Method = Method {
    member: "AddMatch",
    signature: "s",
    ..HELLO
};

/// Moves this process, with all its threads, into a new scope of the user's
/// systemd manager, whose cgroup is its own from then on. The scope ends with
/// its last process. The name of it is returned.
///
/// The manager is asked on its own socket below `$XDG_RUNTIME_DIR`, or
/// `/run/user/UID` without that, as `systemctl --user` does; failing that, on
/// the user's message bus.
///
/// # Errors
///
/// No manager of this user can be reached, or it refuses; the move would leave
/// a limit behind that acts on this process.
pub fn enter_scope(host: &Host) -> Result<String, Error> {
    let uid = rustix::process::geteuid().as_raw();
    leaves_no_limit(host, uid)?;
    let runtime = env::var_os("XDG_RUNTIME_DIR")
        .filter(|folder| Path::new(folder).is_absolute())
        .map_or_else(|| PathBuf::from(format!("/run/user/{uid}")), PathBuf::from);
    let name = name()?;
    start(reach(&runtime, uid)?, &name)?;
    let own = Host::detect()?.own()?.path().to_owned();
    if own.file_name() == Some(OsStr::new(&name)) {
        Ok(name)
    } else {
        Err(Error::NotMoved { scope: name, own })
    }
}

/// Connects to the manager whose sockets are in a folder.
fn reach(runtime: &Path, uid: u32) -> Result<Connection, Error> {
    let private = runtime.join("systemd/private");
    let direct = match Connection::open(&private, uid) {
        Ok(connection) => return Ok(connection),
        Err(error) => error,
    };
    on_the_bus(&runtime.join("bus"), uid).map_err(|by_bus| {
        match (is_served(&direct), is_served(&by_bus)) {
            (true, _) => direct,
            (false, true) => by_bus,
            (false, false) => Error::NoManager {
                uid,
                socket: private,
                // sd_booted(3).
                booted: Path::new("/run/systemd/system").is_dir(),
            },
        }
    })
}

/// Whether something is at the socket that could not be talked to.
fn is_served(error: &Error) -> bool {
    const NOTHING: [ErrorKind; 2] = [ErrorKind::NotFound, ErrorKind::ConnectionRefused];
    !matches!(error, Error::Systemd { source, .. } if NOTHING.contains(&source.kind()))
}

fn on_the_bus(socket: &Path, uid: u32) -> Result<Connection, Error> {
    let mut connection = Connection::open(socket, uid)?;
    connection.call(HELLO, &Writer::default(), |_other| {})?;
    let mut rule = Writer::default();
    rule.text(&format!(
        "type='signal',sender='{}',interface='{MANAGER}',member='JobRemoved'",
        START.destination
    ));
    connection.call(ADD_MATCH, &rule, |_other| {})?;
    Ok(connection)
}

/// Unlike every other, this process's in another PID namespace too.
fn name() -> Result<String, Error> {
    let mut random = [0; 8];
    let flags = rustix::rand::GetRandomFlags::empty();
    rustix::rand::getrandom(&mut random, flags).map_err(|errno| Error::Random {
        source: errno.into(),
    })?;
    Ok(format!("nucleus-{:016x}.scope", u64::from_ne_bytes(random)))
}

/// Has the scope made, and waits until that is done.
fn start(mut connection: Connection, name: &str) -> Result<(), Error> {
    let mut arguments = Writer::default();
    arguments.text(name);
    arguments.text("fail");
    arguments.array(8, |out| {
        out.property("Description", "s", |out| {
            out.text("limited run of nucleus");
        });
        out.property("Delegate", "b", |out| out.number(1));
        // A login has no limit of its own; a scope would get DefaultTasksMax=.
        out.property("TasksMax", "t", |out| out.long(u64::MAX));
        // Whoever asks, by the number that the manager knows it by.
        out.property("PIDs", "au", |out| out.array(4, |out| out.number(0)));
        out.property("CollectMode", "s", |out| out.text("inactive-or-failed"));
    });
    arguments.array(8, |_no_other_units| {});
    let mut over = Vec::new();
    let answer = connection.call(START, &arguments, |other| over.extend(Removed::of(other)))?;
    let job = answer.texts().and_then(|texts| texts.into_iter().next());
    let job = job.ok_or_else(|| connection.failed("understand", malformed()))?;
    loop {
        if let Some(removed) = over.iter().find(|removed| removed.job == job) {
            return match removed.result.as_str() {
                "done" => Ok(()),
                result => Err(Error::ScopeFailed {
                    scope: name.to_owned(),
                    result: result.to_owned(),
                }),
            };
        }
        over.clear();
        over.extend(Removed::of(&connection.next()?));
    }
}

/// A job that the manager has done with.
struct Removed {
    job: String,
    result: String,
}

impl Removed {
    /// The signal `JobRemoved(u id, o job, s unit, s result)`.
    fn of(message: &Message) -> Option<Self> {
        if message.kind != Kind::Signal || message.member.as_deref() != Some("JobRemoved") {
            return None;
        }
        let [job, _unit, result] = message.texts()?.try_into().ok()?;
        Some(Self { job, result })
    }
}

/// The new scope is below the user's manager: what is set above that acts on
/// it, too; what is set below must not be left.
fn leaves_no_limit(host: &Host, uid: u32) -> Result<(), Error> {
    let shared = [format!("user@{uid}.service"), format!("user-{uid}.slice")];
    for cgroup in host.lineage()? {
        let name = cgroup.path().file_name().unwrap_or_default();
        if shared.iter().any(|shared| name == OsStr::new(shared)) {
            break;
        }
        // The root of the hierarchy has no limits.
        if cgroup.read_if_there("cgroup.type")?.is_some()
            && let Some(limit) = limit_set(&cgroup)?
        {
            return Err(Error::LimitLeft {
                from: cgroup.path().to_owned(),
                limit,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
