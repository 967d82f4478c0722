//! Audit sessions: the exact way to know one's own processes in the kernel's
//! records, dead ones too.

use std::{fs, io};

use crate::Error;

const LOGIN_UID: &str = "/proc/thread-self/loginuid";
const SESSION_ID: &str = "/proc/thread-self/sessionid";
/// Neither was ever set.
const UNSET: u32 = u32::MAX;

/// Gives the calling thread, and everything it starts from now on, an audit
/// session of its own, and returns its id.
///
/// Every record of the kernel carries the id (`ses=`), and a process without
/// `CAP_AUDIT_CONTROL` cannot leave its session. The login user stays what it
/// is; where none was set, the thread's user is taken. Other threads keep
/// their session (`audit_set_loginuid`, `kernel/auditsc.c`).
///
/// # Errors
///
/// [`Error::Session`] where a login user is set and the process lacks
/// `CAP_AUDIT_CONTROL`, or `/proc` is read-only.
pub fn enter_session() -> Result<u32, Error> {
    let login = read(LOGIN_UID)?;
    let user = if login == UNSET {
        rustix::process::getuid().as_raw()
    } else {
        login
    };
    fs::write(LOGIN_UID, user.to_string()).map_err(|source| Error::Session { source })?;
    read(SESSION_ID)
}

/// The calling thread's audit session; `None` where none was ever set.
///
/// # Errors
///
/// Where `/proc` cannot be read, or the kernel has no audit.
pub fn current_session() -> Result<Option<u32>, Error> {
    let session = read(SESSION_ID)?;
    Ok((session != UNSET).then_some(session))
}

fn read(path: &'static str) -> Result<u32, Error> {
    let failed = |source| Error::ReadFile {
        path: path.into(),
        source,
    };
    let text = fs::read_to_string(path).map_err(failed)?;
    text.trim()
        .parse()
        .map_err(|_not_a_number| failed(io::Error::new(io::ErrorKind::InvalidData, "not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_fresh_for_the_thread_and_inherited() {
        let before = current_session().unwrap();
        let entered = std::thread::spawn(|| {
            let first = enter_session();
            let inherited = std::process::Command::new("/bin/cat")
                .arg("/proc/self/sessionid")
                .output()
                .unwrap();
            first.map(|id| (id, String::from_utf8(inherited.stdout).unwrap()))
        });
        match entered.join().unwrap() {
            Ok((id, inherited)) => {
                assert_ne!(Some(id), before);
                assert_eq!(inherited, id.to_string());
            }
            // A login session without the capability.
            Err(Error::Session { source }) => {
                assert_eq!(source.kind(), io::ErrorKind::PermissionDenied);
            }
            Err(error) => panic!("{error}"),
        }
        assert_eq!(current_session().unwrap(), before);
    }
}
