//! Why a host refuses namespaces.

use rustix::io::Errno;

/// Why a host refuses namespaces to a user without privilege.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// `user.max_user_namespaces`, or the limit of another kind.
    #[error(
        "the limit on namespaces is reached (sysctl user.max_user_namespaces, or one of its kin user.max_*_namespaces); --no-userns does without them, with far less protection, and --userns host lets root do without one for users"
    )]
    Limit,
    /// EPERM: a sysctl, a security module, or the filter of a container.
    #[error(
        "user namespaces are forbidden here (sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns, or the seccomp profile of a container); run as root, or do without them by --no-userns, with far less protection"
    )]
    Forbidden,
    /// EAGAIN: of processes, not of namespaces.
    #[error(
        "the limit on processes is reached (ulimit -u, pids.max of the cgroup, or sysctl kernel.pid_max); raise it, or end some"
    )]
    Processes,
    /// EINVAL: not in this kernel.
    #[error("this kernel was built without one of the namespaces")]
    Unsupported,
    /// Anything else.
    #[error("clone failed")]
    Other,
}

impl Cause {
    /// What an errno of clone stands for (clone(2)).
    pub(crate) fn of_clone(errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::USERS => Self::Limit,
            Errno::PERM => Self::Forbidden,
            Errno::AGAIN => Self::Processes,
            Errno::INVAL => Self::Unsupported,
            _ => Self::Other,
        }
    }
}
