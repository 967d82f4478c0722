//! Processes, each with a state of its own.

use std::io::Read as _;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

use nucleus_supervisor::{Listener, ProcessTable, Reply, Request};

use crate::{answer, bare, one, shell, start, supervised};

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

#[test]
fn a_filter_has_one_listener() {
    assert!(Listener::can_be_had());
    let registry = one("mkdir", |_: &Request| answer(Reply::Value(0)));
    let (within, _) = supervised(registry, Listener::can_be_had);
    assert!(!within);
    // Trying has left nothing behind.
    assert!(Listener::can_be_had());
}
