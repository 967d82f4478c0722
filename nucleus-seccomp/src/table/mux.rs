//! Calls that i386 also, or only, reaches through a multiplexer.

/// A call behind a multiplexer: the first argument of the latter selects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Multiplexed {
    /// The i386 number of `socketcall` or `ipc`.
    pub(crate) number: u32,
    /// The value of the multiplexer's first argument.
    pub(crate) selector: u64,
}

const SOCKETCALL: u32 = 102;
const IPC: u32 = 117;

/// How an i386 program may call `name` through `socketcall(2)`
/// (`include/uapi/linux/net.h`) or `ipc(2)` (`include/uapi/linux/ipc.h`).
pub(crate) fn multiplexed(name: &str) -> Option<Multiplexed> {
    let (number, selector) = match name {
        "socket" => (SOCKETCALL, 1),
        "bind" => (SOCKETCALL, 2),
        "connect" => (SOCKETCALL, 3),
        "listen" => (SOCKETCALL, 4),
        "accept" => (SOCKETCALL, 5),
        "getsockname" => (SOCKETCALL, 6),
        "getpeername" => (SOCKETCALL, 7),
        "socketpair" => (SOCKETCALL, 8),
        "send" => (SOCKETCALL, 9),
        "recv" => (SOCKETCALL, 10),
        "sendto" => (SOCKETCALL, 11),
        "recvfrom" => (SOCKETCALL, 12),
        "shutdown" => (SOCKETCALL, 13),
        "setsockopt" => (SOCKETCALL, 14),
        "getsockopt" => (SOCKETCALL, 15),
        "sendmsg" => (SOCKETCALL, 16),
        "recvmsg" => (SOCKETCALL, 17),
        "accept4" => (SOCKETCALL, 18),
        "recvmmsg" => (SOCKETCALL, 19),
        "sendmmsg" => (SOCKETCALL, 20),
        "semop" => (IPC, 1),
        "semget" => (IPC, 2),
        "semctl" => (IPC, 3),
        "semtimedop" => (IPC, 4),
        "msgsnd" => (IPC, 11),
        "msgrcv" => (IPC, 12),
        "msgget" => (IPC, 13),
        "msgctl" => (IPC, 14),
        "shmat" => (IPC, 21),
        "shmdt" => (IPC, 22),
        "shmget" => (IPC, 23),
        "shmctl" => (IPC, 24),
        _ => return None,
    };
    Some(Multiplexed { number, selector })
}
