//! Processes that were told when they began.

use nucleus_audit::Belonging::{Other, Ours, Unattributed};

use super::made::{HOST, Made};

#[test]
fn those_that_were_told_are_ours_however_short_they_lived() {
    let made = Made::new();
    made.tell_births();
    made.start(10, 1, "/job", HOST);
    made.start(20, 1, "/job", HOST);
    let mut watch = made.select_pid(10);
    // A daemon made by a child that is gone, and gone itself; and another's.
    made.wait(1000);
    made.start(11, 10, "/job", HOST);
    made.start(12, 11, "/job", HOST);
    made.start(21, 20, "/job", HOST);
    let now = made.wait(1);
    made.end(11);
    made.end(12);
    made.end(21);
    made.wait(1);
    watch.check(11, now, Ours);
    watch.check(12, now, Ours);
    watch.check(21, now, Unattributed);
    // Later records of the dead are theirs until the id is given away.
    made.wait(60_000);
    watch.check(12, now, Ours);
    made.start(12, 20, "/elsewhere", HOST);
    let now = made.wait(100);
    watch.check(12, now, Other);
    made.start(21, 10, "/job", HOST);
    let now = made.wait(100);
    watch.check(21, now, Ours);
}

/// Records are stamped by a clock that may stand still for long on a virtual
/// machine: whoever alone had the id has made the record.
#[test]
fn those_that_were_told_are_ours_however_the_clocks_disagree() {
    let made = Made::new();
    made.tell_births();
    made.start(10, 1, "/job", HOST);
    made.start(20, 1, "/job", HOST);
    let began = made.wait(1000);
    let mut watch = made.select_pid(10);
    made.wait(1000);
    made.start(11, 10, "/job", HOST);
    made.end(11);
    watch.check(11, began + 1, Ours);
    // Before the watch began it may have been anybody's.
    watch.check(11, began - 1, Unattributed);
    made.end(20);
    made.start(20, 10, "/job", HOST);
    watch.check(20, began + 1, Unattributed);
    let now = made.wait(100);
    watch.check(20, now, Ours);
    // And when it changes hands within the precision of the clocks.
    made.end(11);
    made.start(11, 1, "/elsewhere", HOST);
    let handed_over = made.wait(1);
    watch.check(11, handed_over, Unattributed);
    watch.check(11, made.wait(100), Other);
}

/// Made and orphaned while the tree is looked through, so that it is seen as
/// an orphan before it is told whose child it was.
#[test]
fn one_that_is_looked_up_before_it_is_told_is_no_other_holder_of_its_id() {
    let made = Made::new();
    made.tell_births();
    made.start(10, 1, "/job", HOST);
    let mut watch = made.select_pid(10);
    let now = made.wait(1000);
    let happens: [fn(&Made); 2] = [|made| made.start(11, 10, "/job", HOST), |made| made.end(10)];
    made.0.lock().unwrap().meanwhile.extend(happens);
    watch.check(99, now, Unattributed);
    watch.check(11, now, Ours);
    made.end(11);
    watch.check(11, now, Ours);
}

/// The target ends while the tree is looked through, in which a member is that
/// has ended: there is nobody left whose child it could be seen to be.
#[test]
fn one_that_was_told_stays_ours_when_it_is_looked_up_again() {
    let made = Made::new();
    made.tell_births();
    made.start(10, 1, "/job", HOST);
    let mut watch = made.select_pid(10);
    made.wait(1000);
    made.start(11, 10, "/job", HOST);
    made.end_unnoticed(11);
    let happens: [fn(&Made); 2] = [|_| (), |made| made.end(10)];
    made.0.lock().unwrap().meanwhile.extend(happens);
    let now = made.wait(1);
    watch.check(99, now, Unattributed);
    watch.check(11, now, Ours);
}

#[test]
fn after_a_miss_only_the_living_are_still_known() {
    let made = Made::new();
    made.tell_births();
    made.start(10, 1, "/job", HOST);
    made.start(11, 10, "/job", HOST);
    made.start(12, 10, "/job", HOST);
    let mut watch = made.select_pid(10);
    made.end(11);
    let now = made.wait(100);
    made.0.lock().unwrap().births.as_mut().unwrap().missed = true;
    watch.check(11, now, Unattributed);
    watch.check(12, now, Ours);
}
