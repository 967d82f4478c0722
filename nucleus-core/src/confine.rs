//! What confines a program besides its view of files, as steps: namespaces,
//! ids, limits, capabilities.

use crate::error::LaunchError;
use crate::host::Host;
use crate::ids::{Helpers, Identity, Maker, inward};
use crate::isolation::{Isolation, Limit, Network, Resource, Terminal};
use crate::plan::{IdMaps, Namespaces, Step, groups};
use crate::strings::c_string;

/// The parts of a plan that confine.
#[derive(Debug)]
pub(crate) struct Confinement {
    /// The first steps of init.
    pub(crate) init: Vec<Step>,
    /// Steps of init when all is taken from the host, before its root is left.
    pub(crate) leave: Vec<Step>,
    /// The first steps of the program's process.
    pub(crate) program: Vec<Step>,
    /// Steps of it when it is in its place.
    pub(crate) finish: Vec<Step>,
    /// Steps of init after.
    pub(crate) settle: Vec<Step>,
    pub(crate) namespaces: Namespaces,
    pub(crate) program_namespaces: Namespaces,
    pub(crate) program_ids: Option<IdMaps>,
    pub(crate) helpers: Option<Helpers>,
}

/// Plans the confinement of a sandbox on this host.
pub(crate) fn plan(
    sandbox: &Isolation,
    identity: &Identity,
    host: &Host,
) -> Result<Confinement, LaunchError> {
    let mut confinement = Confinement {
        init: vec![Step::HideCommandLine],
        leave: Vec::new(),
        program: Vec::new(),
        finish: Vec::new(),
        settle: vec![Step::DropBoundingSet],
        namespaces: Namespaces::MOUNT
            | Namespaces::CGROUP
            | Namespaces::UTS
            | Namespaces::IPC
            | Namespaces::PID,
        program_namespaces: Namespaces::empty(),
        program_ids: None,
        helpers: None,
    };
    confinement.take_ids(identity, (host.uid, host.gid))?;
    if sandbox.network == Network::None {
        confinement.namespaces |= Namespaces::NET;
        confinement.init.push(Step::Loopback);
    }
    let hostname = Step::Hostname(c_string("host name", &sandbox.hostname)?);
    confinement.init.extend([hostname, Step::PrivateMounts]);
    let gone = [Step::DropCapabilities, Step::NoNewPrivs];
    confinement.settle.extend(gone.clone());

    let steps = &mut confinement.program;
    match sandbox.terminal {
        Terminal::Detached => steps.push(Step::NewSession),
        Terminal::Shared => {}
        Terminal::New(size) => steps.push(Step::NewTerminal(size)),
    }
    steps.push(Step::NewKeyring);
    // Without a user namespace the limit would be the host's own.
    if !sandbox.nested && identity.maker != Maker::Nobody {
        steps.push(Step::ForbidNamespaces);
    }
    steps.extend(limits(sandbox, host).map(Step::Limit));
    confinement.finish.push(Step::DropBoundingSet);
    confinement.finish.extend(gone);
    Ok(confinement)
}

impl Confinement {
    /// The user namespace, and who is who in it.
    fn take_ids(&mut self, identity: &Identity, caller: (u32, u32)) -> Result<(), LaunchError> {
        let (users, group_ranges) = (&identity.users, &identity.group_ranges);
        let (uid, gid) = identity.inside;
        let become_program = Step::Become {
            uid,
            gid,
            groups: identity.groups.as_deref().map(groups),
        };
        match identity.maker {
            // Mounts are made with all privileges, which id-mapped ones need;
            // then the program gets a user namespace that owns none of the
            // others.
            Maker::Root => {
                self.program_namespaces = Namespaces::USER;
                self.program_ids = Some(IdMaps::new(users, group_ranges, false));
                self.program.extend([Step::AwaitIds, become_program]);
                self.settle.push(become_outside(identity));
            }
            Maker::Nobody => {
                self.program.push(become_program);
                self.settle.push(become_outside(identity));
            }
            Maker::Caller => {
                self.namespaces |= Namespaces::USER;
                let maps = IdMaps::new(users, group_ranges, identity.groups.is_none());
                self.init.push(Step::MapIds(maps));
            }
            Maker::Helpers => {
                self.namespaces |= Namespaces::USER;
                self.helpers = Some(Helpers::find(users, group_ranges)?);
                self.init.push(Step::AwaitHelpers);
                // Init needs an id that the namespace knows to make files, but
                // the caller's own to find what it shows of the host.
                let known = inward(users, caller.0).and(inward(group_ranges, caller.1));
                if known.is_none() {
                    self.leave.push(Step::Become {
                        uid,
                        gid,
                        groups: identity.groups.as_ref().map(|_groups| Vec::new()),
                    });
                }
                self.program.push(become_program);
            }
        }
        Ok(())
    }
}

/// The limits that were asked for, and one on tasks in any case. The kernel
/// counts a user's tasks in each user namespace (5.14), so this one is the
/// sandbox's alone.
fn limits(sandbox: &Isolation, host: &Host) -> impl Iterator<Item = Limit> {
    const TASKS: u64 = 4096;
    let is_set = |limit: &Limit| limit.resource == Resource::Processes;
    let tasks = Limit {
        resource: Resource::Processes,
        value: host.most_tasks.map_or(TASKS, |most| most.min(TASKS)),
    };
    let implied = (!sandbox.limits.iter().any(is_set)).then_some(tasks);
    sandbox.limits.iter().copied().chain(implied)
}

/// Init runs on as the program's user, as the host names it.
fn become_outside(identity: &Identity) -> Step {
    let (uid, gid) = identity.outside;
    Step::Become {
        uid,
        gid,
        groups: Some(Vec::new()),
    }
}
