//! The engine with real callers: threads of this process under a filter, and
//! child processes.

#![allow(
    clippy::expect_used,
    reason = "what the helpers cannot do fails the test that asked for it"
)]

use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use nucleus_seccomp::{Arch, InstallFlags, Program, Syscall};
use nucleus_supervisor::{
    ArgTest, Decision, Delivery, Errno, Error, Failure, FdResult, Grounds, Handler, Listener,
    NewFd, ProcessTable, Registry, Reply, Request, Summary, Supervisor, When, spawn,
};

fn call(name: &str) -> Syscall {
    let arch = Arch::native().expect("a table for this machine");
    Syscall::by_name(arch, name).expect("in the table")
}

fn answer(reply: Reply) -> Result<Decision, Failure> {
    Ok(Decision::Answer(reply))
}

fn add(registry: &mut Registry, name: &str, handler: impl Handler + 'static) {
    registry
        .add(call(name), When::Always, handler)
        .expect("a valid trap");
}

fn one(name: &str, handler: impl Handler + 'static) -> Registry {
    let mut registry = Registry::new();
    add(&mut registry, name, handler);
    registry
}

/// A system call with any arguments.
fn raw(name: &str, args: [usize; 6]) -> Result<i64, Errno> {
    let number = libc::c_long::from(call(name).number());
    let [a, b, c, d, e, f] = args;
    // SAFETY: the tests make calls that are answered by the supervisor or that
    // fail; what they point to is theirs, or is meant to be refused.
    let ret = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if ret == -1 {
        Err(Errno::from_io_error(&io::Error::last_os_error()).expect("an errno"))
    } else {
        Ok(ret)
    }
}

fn bare(name: &str) -> Result<i64, Errno> {
    raw(name, [0; 6])
}

/// Installs a filter on this thread alone.
fn install(program: &Program) -> Listener {
    rustix::thread::set_no_new_privs(true).expect("no_new_privs");
    let flags = InstallFlags::NEW_LISTENER | InstallFlags::WAIT_KILLABLE_RECV;
    let fd = program
        .install(flags)
        .or_else(|_before_5_19| program.install(InstallFlags::NEW_LISTENER))
        .expect("installed");
    Listener::new(fd.expect("a listener")).expect("usable")
}

/// Runs a function on a thread under the filter of a registry.
fn supervised<R: Send + 'static>(
    registry: Registry,
    run: impl FnOnce() -> R + Send + 'static,
) -> (R, Summary) {
    let program = registry.program().expect("loads");
    let (send, receive) = channel();
    let (go, start) = channel();
    let caller = thread::spawn(move || {
        send.send(install(&program)).expect("received");
        start.recv().expect("sent");
        run()
    });
    let listener = receive.recv().expect("a listener");
    let supervisor = Supervisor::start(listener, registry).expect("started");
    go.send(()).expect("received");
    let result = caller.join().expect("no panic");
    (result, supervisor.wait().expect("ended well"))
}

fn start(command: Command, registry: Registry) -> (Child, Supervisor) {
    let filter = registry.program().expect("loads");
    spawn(command, filter, |listener| {
        Supervisor::start(listener, registry)
    })
    .expect("spawned")
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn values_errnos_and_going_on() {
    let mut registry = one("getppid", |_: &Request| answer(Reply::Value(424_242)));
    add(&mut registry, "getuid", |_: &Request| {
        answer(Reply::Errno(Errno::XDEV))
    });
    add(&mut registry, "getpid", |_: &Request| {
        answer(Reply::Continue(Grounds::RegistersAlone))
    });
    let (results, summary) = supervised(registry, || {
        ["getppid", "getuid", "getpid", "getgid"].map(bare)
    });
    let pid = i64::from(std::process::id());
    assert_eq!(results[..3], [Ok(424_242), Err(Errno::XDEV), Ok(pid)]);
    assert!(results[3].is_ok(), "not trapped");
    assert_eq!((summary.received, summary.gone), (3, 0));
}

#[test]
fn handlers_are_asked_in_order_where_their_arguments_match() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let mut registry = Registry::new();
    let mut note = |name, when, decide: fn() -> Decision| {
        let asked = Arc::clone(&asked);
        let handler = move |_: &Request| {
            asked.lock().expect("whole").push(name);
            Ok(decide())
        };
        registry
            .add(call("socket"), when, handler)
            .expect("a valid trap");
    };
    let pass = || Decision::Pass(Grounds::RegistersAlone);
    let deny = || Decision::Answer(Reply::Errno(Errno::ACCESS));
    let family = |number| When::test(ArgTest::int(0, number));
    note("all", When::Always, pass);
    note("netlink", family(16), deny);
    note("unix", family(1), pass);
    let (results, _) = supervised(registry, || {
        // The kernel does not look at the upper half of the family either.
        let dressed = 16 | 1 << 40;
        [1, dressed].map(|family| raw("socket", [family, 1, 0, 0, 0, 0]))
    });
    assert!(results[0].is_ok(), "a socket: {results:?}");
    assert_eq!(results[1], Err(Errno::ACCESS));
    let asked = asked.lock().expect("whole");
    assert_eq!(*asked, ["all", "unix", "all", "netlink"]);
}

#[test]
fn a_failing_a_panicking_and_a_forgetting_handler_answer_their_callers() {
    let mut registry = one("getppid", |_: &Request| Err(Failure(Errno::DOM)));
    add(&mut registry, "getuid", |_: &Request| {
        panic!("on purpose, in a handler")
    });
    add(&mut registry, "getgid", |_: &Request| {
        Ok(Decision::Hold(Box::new(drop)))
    });
    add(&mut registry, "getegid", |_: &Request| {
        Ok(Decision::Hold(Box::new(|_request| {
            panic!("on purpose, with a held request")
        })))
    });
    let (results, summary) = supervised(registry, || {
        ["getppid", "getuid", "getgid", "getegid"].map(bare)
    });
    let expected = [Errno::DOM, Errno::IO, Errno::PERM, Errno::PERM].map(Err);
    assert_eq!(results, expected);
    assert_eq!((summary.failed, summary.panicked), (1, 2));
}

#[test]
fn without_a_supervisor_a_trapped_call_fails() {
    let registry = one("getppid", |_: &Request| answer(Reply::Value(1)));
    let program = registry.program().expect("loads");
    let result = thread::spawn(move || {
        drop(install(&program));
        bare("getppid")
    });
    assert_eq!(result.join().expect("no panic"), Err(Errno::NOSYS));
}

/// Blocks until as many threads as the barrier counts have come to it.
struct Waiting(Arc<Barrier>);

impl Handler for Waiting {
    fn handle(&self, _request: &Request) -> Result<Decision, Failure> {
        self.0.wait();
        answer(Reply::Value(1))
    }
}

#[test]
fn a_blocked_request_holds_up_nobody() {
    const BLOCKED: usize = 20;
    let barrier = Arc::new(Barrier::new(BLOCKED + 1));
    let mut registry = one("getuid", Waiting(Arc::clone(&barrier)));
    add(&mut registry, "getppid", |_: &Request| {
        answer(Reply::Value(2))
    });
    let (results, summary) = supervised(registry, move || {
        // Threads made here are under the filter too.
        let blocked: Vec<_> = (0..BLOCKED)
            .map(|_| thread::spawn(|| bare("getuid")))
            .collect();
        let free = bare("getppid");
        barrier.wait();
        let mut results: Vec<_> = blocked
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect();
        results.push(free);
        results
    });
    assert_eq!(results[..BLOCKED], [Ok(1); BLOCKED]);
    assert_eq!(results[BLOCKED], Ok(2));
    assert_eq!(summary.received, 21);
}

/// A handler that hands every request to whoever has the other end.
fn hand_over(send: Sender<Request>) -> impl Handler {
    let send = Mutex::new(send);
    move |_: &Request| {
        let send = send.lock().expect("whole").clone();
        Ok(Decision::Hold(Box::new(move |request| {
            send.send(request).expect("received");
        })))
    }
}

#[test]
fn a_held_request_is_answered_from_elsewhere() {
    let (send, receive) = channel();
    let other = thread::spawn(move || {
        let request: Request = receive.recv().expect("a request");
        assert_eq!(request.is_waiting(), Ok(true));
        request.answer(Reply::Value(77)).expect("answered")
    });
    let (result, _) = supervised(one("getppid", hand_over(send)), || bare("getppid"));
    assert_eq!(result, Ok(77));
    assert_eq!(other.join().expect("no panic"), Delivery::Delivered);
}

/// Two pages, of which the second cannot be accessed; nobody unmaps them.
fn page_before_a_hole() -> *mut u8 {
    let page = rustix::param::page_size();
    let flags = rustix::mm::MapFlags::PRIVATE;
    let protection = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
    let anywhere = std::ptr::null_mut();
    // SAFETY: a fresh mapping at an address that the kernel chooses.
    let start = unsafe { rustix::mm::mmap_anonymous(anywhere, 2 * page, protection, flags) };
    let start: *mut u8 = start.expect("mapped").cast();
    let hole = start.wrapping_add(page).cast();
    // SAFETY: the second page of the mapping that was just made.
    unsafe { rustix::mm::mprotect(hole, page, rustix::mm::MprotectFlags::empty()) }
        .expect("protected");
    start
}

/// Copies bytes so that they end right before the hole.
fn at_the_border(bytes: &[u8]) -> usize {
    let page = rustix::param::page_size();
    let target = page_before_a_hole().wrapping_add(page - bytes.len());
    // SAFETY: within the first page of a mapping of ours, which nobody frees.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    target.addr()
}

#[test]
fn paths_are_read_to_their_nul_and_never_beyond() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let registry = one("mkdirat", move |request: &Request| {
        let path = request.memory().path(request.data().args[1])?;
        sink.lock().expect("whole").push(path);
        answer(Reply::Value(0))
    });
    let longest = vec![b'l'; 4095];
    let expected = [
        b"at the border".to_vec(),
        b"\xff\xfe".to_vec(),
        longest.clone(),
    ];
    let (results, _) = supervised(registry, move || {
        let too_long = CString::new(vec![b'x'; 4096]).expect("no NUL");
        let longest = CString::new(longest).expect("no NUL");
        [
            at_the_border(b"at the border\0"),
            at_the_border(b"\xff\xfe\0"),
            longest.as_ptr().addr(),
            too_long.as_ptr().addr(),
            at_the_border(b"no end"),
            at_the_border(b""),
            0,
            usize::MAX,
        ]
        .map(|address| raw("mkdirat", [usize::MAX, address, 0, 0, 0, 0]))
    });
    assert_eq!(results[..3], [Ok(0); 3]);
    assert_eq!(results[3], Err(Errno::NAMETOOLONG));
    assert_eq!(results[4..], [Err(Errno::FAULT); 4]);
    assert_eq!(*seen.lock().expect("whole"), expected);
}

#[test]
fn vectors_and_messages_are_read_and_results_written() {
    let registry = one("sendmsg", |request: &Request| {
        let memory = request.memory();
        let header = memory.message_header(request.data().args[1])?;
        let length = u32::try_from(header.name.length).expect("fits");
        let name = memory.socket_address(header.name.address, length)?;
        assert_eq!(name, b"\x02\0\x12\x34abcd");
        assert_eq!(header.flags, 0x5555);
        let pieces = memory.pieces(header.pieces.address, header.pieces.length)?;
        let mut text = Vec::new();
        for piece in &pieces {
            let mut bytes = vec![0; usize::try_from(piece.length).expect("fits")];
            memory.read(piece.address, &mut bytes)?;
            text.extend(bytes);
        }
        assert_eq!(text, b"hello, world");
        memory.write(pieces[0].address, b"WRITE")?;
        // What the program itself could not write to.
        let constant = b"constant".as_ptr().addr() as u64;
        let refused = memory.write(constant, b"x").expect_err("read-only");
        assert_eq!(refused.errno(), Errno::FAULT);
        let too_many = memory.pieces(header.pieces.address, 1025);
        assert_eq!(too_many.expect_err("IOV_MAX").errno(), Errno::MSGSIZE);
        answer(Reply::Value(12))
    });
    let ((result, text), summary) = supervised(registry, || {
        let mut name = *b"\x02\0\x12\x34abcd";
        let mut texts = (*b"hello", *b", world");
        let piece = |base: *mut u8, length| libc::iovec {
            iov_base: base.cast(),
            iov_len: length,
        };
        let mut pieces = [
            piece(texts.0.as_mut_ptr(), 5),
            piece(texts.1.as_mut_ptr(), 7),
        ];
        // SAFETY: every bit pattern of this structure is valid.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = name.as_mut_ptr().cast();
        header.msg_namelen = 8;
        header.msg_iov = pieces.as_mut_ptr();
        header.msg_iovlen = 2;
        header.msg_flags = 0x5555;
        let address = (&raw const header).expose_provenance();
        let result = raw("sendmsg", [usize::MAX, address, 0, 0, 0, 0]);
        (result, std::hint::black_box(texts).0)
    });
    assert_eq!((result, summary.panicked), (Ok(12), 0));
    assert_eq!(&text, b"WRITE");
}

fn memory_file(content: &[u8]) -> OwnedFd {
    let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).expect("made");
    rustix::io::pwrite(&fd, content, 0).expect("written");
    fd
}

#[test]
fn descriptors_are_given_with_the_answer_at_a_number_or_with_a_value() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let registry = one("openat", move |request: &Request| {
        let sink = Arc::clone(&sink);
        let mut new = NewFd::new(memory_file(b"given"));
        new.told = Some(Box::new(move |number| {
            sink.lock().expect("whole").push(i64::from(number));
        }));
        match request.int(2) {
            1 => {
                new.number = Some(200);
                new.close_on_exec = false;
                new.result = FdResult::Value(0);
            }
            // Above RLIMIT_NOFILE, as dup2(2) refuses it.
            2 => new.number = Some(1 << 30),
            _ => {}
        }
        answer(Reply::Fd(new))
    });
    let (results, summary) = supervised(registry, || {
        let open = |kind| raw("openat", [usize::MAX, 0, kind, 0, 0, 0]);
        let first = open(0).expect("given");
        let second = open(1);
        let flags = [first, 200].map(|fd| {
            let fd = usize::try_from(fd).expect("a number");
            raw("fcntl", [fd, 1, 0, 0, 0, 0]).expect("open")
        });
        let mut text = [0; 5];
        // SAFETY: a descriptor that this thread was just given.
        let read = unsafe { libc::pread(200, text.as_mut_ptr().cast(), 5, 0) };
        (first, second, flags, read, text, open(2))
    });
    let (first, second, flags, read, text, third) = results;
    assert_eq!(second, Ok(0));
    assert_eq!(flags, [i64::from(libc::FD_CLOEXEC), 0]);
    assert_eq!((read, &text), (5, b"given"));
    assert_eq!(third, Err(Errno::BADF));
    assert_eq!(*told.lock().expect("whole"), [first, 200]);
    assert_eq!(summary.failed, 0);
}

#[test]
fn a_child_under_a_filter_ends_with_its_own_code() {
    let registry = one("mkdir", |request: &Request| {
        let path = request.memory().path(request.data().args[0])?;
        assert_eq!(path, b"/dir");
        answer(Reply::Errno(Errno::NOSPC))
    });
    let mut command = shell("mkdir /dir; exit 7");
    command.stderr(Stdio::piped()).env("LC_ALL", "C");
    let (child, supervisor) = start(command, registry);
    let output = child.wait_with_output().expect("waited for");
    assert_eq!(output.status.code(), Some(7));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("No space left on device"), "{message}");
    let summary = supervisor.wait().expect("ended well");
    assert_eq!((summary.received, summary.panicked), (1, 0));
}

#[test]
fn the_exec_itself_can_be_trapped_and_its_arguments_read() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let registry = one("execve", move |request: &Request| {
        let [_, argv, ..] = request.data().args;
        let arguments = request.memory().strings(argv, 1 << 20)?;
        sink.lock().expect("whole").push(arguments);
        Ok(Decision::Pass(Grounds::NothingSensitive(
            "this test only looks",
        )))
    });
    let command = shell("exec sh -c : '' \"$(printf 'a\\377')\"");
    let (mut child, supervisor) = start(command, registry);
    assert!(child.wait().expect("waited for").success());
    supervisor.wait().expect("ended well");
    let seen = seen.lock().expect("whole");
    let last = seen.last().expect("an exec");
    assert_eq!(*last, [&b"sh"[..], b"-c", b":", b"", b"a\xff"]);
}

#[test]
fn a_call_can_be_the_end_of_its_process() {
    let registry = one("mkdir", |_: &Request| answer(Reply::Kill));
    let (mut child, supervisor) = start(shell("exec mkdir /dir"), registry);
    assert_eq!(child.wait().expect("waited for").signal(), Some(9));
    supervisor.wait().expect("ended well");
}

#[test]
fn a_caller_that_dies_while_it_waits_is_no_error() {
    let (send, receive) = channel();
    let (mut child, supervisor) = start(shell("exec mkdir /dir"), one("mkdir", hand_over(send)));
    let request = receive.recv().expect("a request");
    child.kill().expect("killed");
    child.wait().expect("reaped");
    assert_eq!(request.is_waiting(), Ok(false));
    let read = request.memory().read(request.data().args[0], &mut [0]);
    assert!(read.is_err(), "{read:?}");
    let delivery = request.answer(Reply::Value(0)).expect("no error");
    assert_eq!(delivery, Delivery::Gone);
    supervisor.wait().expect("ended well");
}

#[test]
fn what_fails_before_the_program_runs_is_told() {
    let registry = one("mkdir", |_: &Request| answer(Reply::Value(0)));
    let filter = registry.program().expect("loads");
    let absent = Command::new("/no/such/program");
    let error = spawn(absent, filter.clone(), |listener| {
        Supervisor::start(listener, registry)
    });
    let Err(Error::Spawn { program, source }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(program, "/no/such/program");
    assert_eq!(source.kind(), io::ErrorKind::NotFound);

    let mut command = shell("echo ran");
    let (mut output, write) = io::pipe().expect("a pipe");
    command.stdout(write);
    let error = spawn(command, filter, |listener| {
        drop(listener);
        Err::<(), _>(Error::Panicked { name: "test" })
    });
    assert!(matches!(error, Err(Error::Panicked { name: "test" })));
    let mut text = String::new();
    output.read_to_string(&mut text).expect("read");
    assert_eq!(text, "", "the program did not run");
}

#[test]
fn processes_are_told_apart_and_their_ends_are_seen() {
    let (send, ends) = channel();
    let table = ProcessTable::<Mutex<u32>>::new(move |process| {
        let calls = *process.state.lock().expect("whole");
        send.send((process.id(), calls)).expect("received");
    });
    let table = Arc::new(table.expect("a table"));
    let known = Arc::clone(&table);
    let registry = one("umask", move |request: &Request| {
        let process = known.of(request)?;
        *process.state.lock().expect("whole") += 1;
        answer(Reply::Value(0o22))
    });
    // Setting the mask is a builtin of the shell, and one call.
    let mut command = shell("umask 1; umask 2; (umask 3; :); umask 4; echo done; read end");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let (mut child, supervisor) = start(command, registry);
    let mut text = [0; 5];
    let out = child.stdout.as_mut().expect("piped");
    out.read_exact(&mut text).expect("read");
    assert_eq!(&text, b"done\n");
    let (inner, inner_calls) = ends.recv().expect("the subshell's end");
    assert_eq!(table.len(), 1);
    drop(child.stdin.take());
    child.wait().expect("waited for");
    let (outer, outer_calls) = ends.recv().expect("the shell's end");
    assert_eq!(outer.pid.unsigned_abs(), child.id());
    assert_ne!(inner.pid, outer.pid);
    assert!(inner.start_time >= outer.start_time);
    assert_eq!(outer_calls, 3 * inner_calls);
    assert!(table.is_empty());
    supervisor.wait().expect("ended well");
}

#[test]
fn threads_share_the_state_of_their_process() {
    let table = Arc::new(ProcessTable::<()>::new(|_| {}).expect("a table"));
    let known = Arc::clone(&table);
    let registry = one("getppid", move |request: &Request| {
        let process = known.of(request)?;
        answer(Reply::Value(process.id().pid.into()))
    });
    let own = i64::from(std::process::id());
    let (results, _) = supervised(registry, || {
        let other = thread::spawn(|| bare("getppid"));
        [other.join().expect("no panic"), bare("getppid")]
    });
    assert_eq!(results, [Ok(own); 2]);
    assert_eq!(table.len(), 1);
}
