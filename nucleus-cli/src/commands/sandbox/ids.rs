//! Who the program is.

use nucleus_core::{IdRange, Isolation, User, UserNamespace};

/// The program's user and groups.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "User and groups")]
pub(crate) struct IdArgs {
    /// For hosts that forbid user namespaces: only Landlock, the filter,
    /// limits and a clean environment
    ///
    /// The program sees the host's processes, and its files where they are, as
    /// far as Landlock grants them: the system's read-only, no home, no /tmp
    /// but by --volume DIR:DIR:rw. It cannot change modes, owners and times by
    /// path, nor use IPC, nor sockets but with --network host. Never the
    /// default; not for root.
    #[arg(long, conflicts_with_all = [
        "userns", "uid_maps", "gid_maps", "user", "groups", "capabilities",
        "capabilities_policy", "allow_nested", "no_landlock", "tmpfs", "hosts", "tty",
        "net_allow", "net_allow_bind", "secrets",
    ])]
    pub(crate) no_userns: bool,

    /// Whose ids the program has on the host
    ///
    /// By default what root runs owns nothing on the host (auto), and what
    /// anybody else runs is that user (keep-id).
    #[arg(long, value_enum, value_name = "MODE", conflicts_with_all = ["uid_maps", "gid_maps"])]
    userns: Option<Userns>,

    /// Map user ids of the sandbox to the host's, and group ids too if there
    /// is no --gidmap; repeat for more. Beyond the own id a user needs
    /// newuidmap and a range in /etc/subuid
    #[arg(long = "uidmap", value_name = "CONTAINER:HOST:SIZE")]
    uid_maps: Vec<IdRange>,

    /// Map group ids of the sandbox to the host's
    #[arg(long = "gidmap", value_name = "CONTAINER:HOST:SIZE")]
    gid_maps: Vec<IdRange>,

    /// Who the program is inside, by number or by a name of the host
    #[arg(long, value_name = "USER[:GROUP]", value_parser = User::lookup)]
    user: Option<User>,

    /// A supplementary group; repeat for more
    #[arg(long = "group-add", value_name = "GROUP", value_parser = User::lookup_group)]
    groups: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Userns {
    /// The caller's own, or those of --user
    KeepId,
    /// One that owns nothing: fresh for root, subordinate for a user
    Auto,
    /// Many that own nothing, none of the caller's
    Nomap,
    /// No user namespace at all, root only: nothing but the filter keeps the
    /// program from making namespaces, and it has no capabilities to be given
    Host,
}

impl IdArgs {
    /// The sandbox with this user.
    pub(crate) fn apply(&self, mut sandbox: Isolation) -> Isolation {
        sandbox = sandbox.user_namespace(self.namespace());
        if let Some(user) = self.user {
            sandbox = sandbox.user(user);
        }
        self.groups
            .iter()
            .fold(sandbox, |sandbox, group| sandbox.group(*group))
    }

    fn namespace(&self) -> UserNamespace {
        if !(self.uid_maps.is_empty() && self.gid_maps.is_empty()) {
            let or = |some: &Vec<IdRange>, other: &Vec<IdRange>| {
                if some.is_empty() { other } else { some }.clone()
            };
            return UserNamespace::Mapped {
                users: or(&self.uid_maps, &self.gid_maps),
                groups: or(&self.gid_maps, &self.uid_maps),
            };
        }
        match self.userns {
            None => UserNamespace::Default,
            Some(Userns::KeepId) => UserNamespace::KeepId,
            Some(Userns::Auto) => UserNamespace::Auto,
            Some(Userns::Nomap) => UserNamespace::NoMap,
            Some(Userns::Host) => UserNamespace::Host,
        }
    }
}
