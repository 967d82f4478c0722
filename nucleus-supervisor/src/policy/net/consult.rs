//! Questions about what the rules on the network have let pass.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use rustix::io::Errno;

use super::patience::RESTART;
use super::{Guard, Protocol};
use crate::Request;
use crate::callback::{Category, Event};

/// What a call is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum About<'a> {
    Peer(Protocol, SocketAddr),
    /// An address of its own, to bind to or to listen at.
    Own(Protocol, SocketAddr),
    Named(&'a Path),
}

impl Guard {
    /// Whether a call may go on that the rules have judged already: asks whoever
    /// is to be asked, and waits.
    ///
    /// # Errors
    ///
    /// It may not, or its caller is gone.
    pub(super) fn consult(
        &self,
        request: &Request,
        allowed: bool,
        about: About<'_>,
    ) -> Result<(), Errno> {
        let by_rules = if allowed { Ok(()) } else { Err(Errno::ACCESS) };
        if !allowed {
            request.denied_because(self.reason(request, about, true));
        }
        if self.arbiter.is_none() && self.tightened.is_none() {
            return by_rules;
        }
        let event = self.event(request, about);
        if by_rules.is_err() || !self.is_within(&event, about) {
            request.denied_because(self.reason(request, about, false));
            if let Some(arbiter) = &self.arbiter {
                arbiter.tell_denied(event);
            }
            return Err(Errno::ACCESS);
        }
        let Some(arbiter) = &self.arbiter else {
            return Ok(());
        };
        // A caller that is there waits whatever signals come, for no longer
        // than the arbiter has patience.
        let waits = || request.is_waiting().unwrap_or(false);
        let verdict = arbiter.ask_and_wait(event, waits).ok_or(RESTART)?;
        // It may have been taken away meanwhile, by the verdict itself.
        let event = self.event(request, about);
        let ends = match self.is_within(&event, about) {
            true => verdict.ok(),
            false => Err(Errno::ACCESS),
        };
        if ends.is_err() {
            request.denied_because(self.reason(request, about, false));
        }
        ends
    }

    /// Whether it is within what is left of the rules.
    fn is_within(&self, event: &Event, about: About<'_>) -> bool {
        let Some(context) = &self.tightened else {
            return true;
        };
        if event.pid == 0 {
            // Nobody knows what was taken away from it.
            return false;
        }
        match about {
            About::Peer(protocol, peer) => context.allows_peers(event.pid, |only| {
                self.judge.is_in(only, protocol, peer, Instant::now())
            }),
            About::Named(path) => context.allows_path(event.pid, path),
            About::Own(..) => true,
        }
    }

    fn event(&self, request: &Request, about: About<'_>) -> Event {
        let name = request.call().and_then(nucleus_seccomp::Syscall::name);
        let thread = request.thread().cast_unsigned();
        let mut event = Event::new(name.unwrap_or("unknown"), Category::Network, thread);
        match about {
            About::Peer(protocol, address) | About::Own(protocol, address) => {
                event.host = Some(address.ip().to_canonical());
                event.port = Some(address.port());
                event.protocol = Some(protocol);
            }
            About::Named(path) => event.path = Some(path.to_owned()),
        }
        if let About::Peer(_, peer) = about {
            event.names = self.judge.names_of(peer.ip(), Instant::now());
        }
        event
    }
}
