//! What confines a program besides its view of files, as steps: namespaces,
//! ids, limits, capabilities.

use crate::capability::Capabilities;
use crate::error::{IdError, LaunchError};
use crate::host::Host;
use crate::ids::{Helpers, IdRange, Identity, Maker, inward};
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
    /// Steps of init when what needs nothing of the host is made.
    pub(crate) ready: Vec<Step>,
    /// The first steps of the program's process: those that need no id, and the
    /// wait for ids.
    pub(crate) first: Vec<Step>,
    /// Its next steps.
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
        ready: Vec::new(),
        first: vec![Step::LimitBoundingSet(sandbox.capabilities)],
        program: Vec::new(),
        finish: Vec::new(),
        settle: Vec::new(),
        namespaces: Namespaces::MOUNT
            | Namespaces::CGROUP
            | Namespaces::UTS
            | Namespaces::IPC
            | Namespaces::PID,
        program_namespaces: Namespaces::empty(),
        program_ids: None,
        helpers: None,
    };
    // A session is a group of its own for the scheduler (sched(7)), behind init
    // where it comes late.
    if sandbox.terminal == Terminal::Detached {
        confinement.first.push(Step::NewSession);
    }
    confinement.take_ids(identity, (host.uid, host.gid))?;
    if sandbox.network == Network::None {
        confinement.init.push(Step::BeginNetwork);
        confinement.ready.push(Step::EnterNetwork);
    }
    let hostname = Step::Hostname(c_string("host name", &sandbox.hostname)?);
    confinement
        .init
        .extend([hostname.clone(), Step::PrivateMounts]);
    confinement.init.extend(sandbox.uptime.map(Step::Uptime));
    if !sandbox.capabilities.is_empty() {
        confinement.own_namespaces(sandbox, identity)?;
        confinement.program.push(hostname);
    }
    // Init executes nothing, and so gets nothing from a bounding set: it is left
    // as it is. To empty it takes as long as all else that init does here.
    //
    // Before, as long as the program may not attach to one with capabilities.
    confinement.settle.push(Step::CloseMemory);
    confinement.settle.extend(have(NONE));

    let steps = &mut confinement.program;
    if let Terminal::New(size) = sandbox.terminal {
        steps.push(Step::NewTerminal(size));
    }
    steps.push(Step::NewKeyring);
    // Without a user namespace the limit would be the host's own.
    if !sandbox.nested && identity.maker != Maker::Nobody {
        steps.push(Step::ForbidNamespaces);
    }
    steps.extend(limits(sandbox, host));
    confinement
        .finish
        .push(Step::CheckBoundingSet(sandbox.capabilities));
    confinement.finish.extend(have(sandbox.capabilities));
    Ok(confinement)
}

const NONE: Capabilities = Capabilities::NONE;

/// The last of what is done about capabilities.
fn have(capabilities: Capabilities) -> [Step; 3] {
    [
        Step::SetCapabilities(capabilities),
        Step::CheckCapabilities(capabilities),
        Step::NoNewPrivs,
    ]
}

impl Confinement {
    /// A program with capabilities gets namespaces of its own to have them
    /// over. Its mounts and processes stay those of an outer user namespace,
    /// where they are nothing.
    fn own_namespaces(
        &mut self,
        sandbox: &Isolation,
        identity: &Identity,
    ) -> Result<(), LaunchError> {
        self.program_namespaces = Namespaces::USER | Namespaces::UTS | Namespaces::IPC;
        match identity.maker {
            Maker::Root => {}
            Maker::Nobody => return Err(LaunchError::CapabilitiesOfHost),
            Maker::Caller | Maker::Helpers => {
                let itself = |ranges: &[IdRange]| -> Result<Vec<_>, IdError> {
                    let same = |range: &IdRange| {
                        IdRange::new(range.inside(), range.inside(), range.count())
                    };
                    ranges.iter().map(same).collect()
                };
                let users = itself(&identity.users)?;
                let groups = itself(&identity.group_ranges)?;
                self.program_ids = Some(IdMaps::new(&users, &groups, false));
                self.first.push(Step::AwaitIds);
            }
        }
        if sandbox.network == Network::None {
            self.program_namespaces |= Namespaces::NET;
            self.program.push(Step::Loopback);
        }
        Ok(())
    }

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
                self.first.push(Step::AwaitIds);
                self.program.push(become_program);
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
                    // The maps of the program's process are still to be written.
                    self.leave.push(Step::OpenMemory);
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
pub(crate) fn limits(sandbox: &Isolation, host: &Host) -> impl Iterator<Item = Step> {
    const TASKS: u64 = 4096;
    let is_set = |limit: &Limit| limit.resource == Resource::Processes;
    let tasks = Limit {
        resource: Resource::Processes,
        value: host.most_tasks.map_or(TASKS, |most| most.min(TASKS)),
    };
    let implied = (!sandbox.limits.iter().any(is_set)).then_some(tasks);
    let asked = sandbox.limits.iter().copied();
    let first = asked.filter(|limit| !starves_steps(limit));
    first.chain(implied).map(Step::Limit)
}

/// Those that the steps in between could not live with.
pub(crate) fn last_limits(sandbox: &Isolation) -> impl Iterator<Item = Step> {
    let asked = sandbox.limits.iter().copied();
    asked.filter(starves_steps).map(Step::Limit)
}

/// Whether a limit leaves the steps of the program's process, which open
/// files, less than they need. What is higher may have to be set while there
/// are capabilities for it.
fn starves_steps(limit: &Limit) -> bool {
    const OPEN_FILES: u64 = 64;
    limit.resource == Resource::OpenFiles && limit.value < OPEN_FILES
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
