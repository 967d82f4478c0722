//! What a call is answered with, and by whom.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use nucleus_supervisor::{
    ArgTest, AtOnce, Decision, Delivery, Denial, Errno, Failure, Grounds, Handler, Registry, Reply,
    Request, When,
};
use rustix::process::{Pid, Signal};

use crate::{add, answer, bare, call, hand_over, install, one, raw, shell, start, supervised};

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

/// A handler that never comes back, on the pool: others are answered, and the
/// caller can be ended.
#[test]
fn a_hung_handler_holds_up_nobody_and_no_end() {
    let (begun, has_begun) = channel();
    let begun = Mutex::new(begun);
    let mut registry = one("mkdir", move |_: &Request| {
        begun.lock().expect("whole").send(()).expect("received");
        loop {
            thread::park();
        }
    });
    add(&mut registry, "umask", |_: &Request| {
        answer(Reply::Value(0o22))
    });
    let mut command = shell("mkdir /dir & umask 1; echo answered; wait");
    command.stdout(Stdio::piped()).process_group(0);
    let (mut child, supervisor) = start(command, registry);
    let mut text = [0; 9];
    let out = child.stdout.as_mut().expect("piped");
    out.read_exact(&mut text).expect("read");
    assert_eq!(&text, b"answered\n");
    has_begun.recv().expect("the handler has begun");
    // The one that waits is in the group of the shell.
    let group = Pid::from_child(&child);
    rustix::process::kill_process_group(group, Signal::KILL).expect("killed");
    child.wait().expect("reaped");
    // Its end ends the supervisor, whatever the handler does.
    supervisor.wait().expect("ended well");
}

#[test]
fn who_never_waits_answers_on_the_thread_that_receives() {
    let name = || thread::current().name().map(str::to_owned);
    let names = Arc::new(Mutex::new(Vec::new()));
    let noting = |names: &Arc<Mutex<Vec<_>>>| {
        let names = Arc::clone(names);
        move |_: &Request| {
            names.lock().expect("whole").push(name());
            answer(Reply::Value(0))
        }
    };
    let mut registry = one("getppid", AtOnce(noting(&names)));
    add(&mut registry, "getuid", noting(&names));
    let (results, _) = supervised(registry, || ["getppid", "getuid"].map(bare));
    assert_eq!(results, [Ok(0); 2]);
    let names = names.lock().expect("whole");
    let expected = ["nucleus-notify", "nucleus-worker"].map(|name| Some(name.to_owned()));
    assert_eq!(*names, expected);
}

/// What is told of may take its time; what nobody is told of does not wait for
/// that, nor for who is asked about other calls.
#[test]
fn who_never_waits_answers_there_beside_those_who_hear_of_denials() {
    let names = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let names = Arc::clone(&names);
        move || {
            let name = thread::current().name().map(str::to_owned);
            names.lock().expect("whole").push((what, name));
        }
    };
    let (asked, told, ahead) = (note("asked"), note("told"), note("ahead"));
    let handler = move |request: &Request| {
        asked();
        if request.data().args[0] == 0 {
            return answer(Reply::Value(7));
        }
        request.denied_because(Denial {
            what: String::new(),
            why: String::new(),
            remedy: None,
        });
        answer(Reply::Errno(Errno::NOMEM))
    };
    let mut registry = one("getppid", AtOnce(handler));
    add(
        &mut registry,
        "getuid",
        AtOnce(|_: &Request| answer(Reply::Value(0))),
    );
    registry.on_denial(move |_denied| told());
    registry.ahead(
        |data| data.syscall() == Some(call("getuid")),
        move |_request| {
            ahead();
            Reply::Value(9)
        },
    );
    let (results, _) = supervised(registry, || {
        let denied = raw("getppid", [1, 0, 0, 0, 0, 0]);
        [bare("getppid"), denied, bare("getuid")]
    });
    assert_eq!(results, [Ok(7), Err(Errno::NOMEM), Ok(9)]);
    let receiver = Some("nucleus-notify".to_owned());
    let worker = Some("nucleus-worker".to_owned());
    let expected = [
        ("asked", receiver.clone()),
        ("told", worker.clone()),
        ("asked", receiver),
        ("ahead", worker),
    ];
    assert_eq!(*names.lock().expect("whole"), expected);
}
