//! `cargo xtask vm-test`: the tests on kernels of their own.
//!
//! A machine boots a Debian kernel with an initial file system that holds the
//! test binaries, the programs they run and an init; see `tests/src/bin/vm-init`.

mod abreast;
mod catalogue;
mod cpio;
mod group;
mod image;
mod kernel;
mod modules;
mod qemu;
mod report;
mod selftest;
mod systemd;
mod tools;
mod tree;
mod userland;
mod verdict;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use nucleus_tests::vm::{Cgroups, Job, Phase};
use regex_lite::Regex;
use rustix::fs::{FlockOperation, flock};

use crate::{build, shell};
use catalogue::{Catalogue, Entry};
use group::{GROUPS, Group};
use image::Layers;
use kernel::{KERNELS, Kernel, Store, Unpacked};
use qemu::{Accelerator, Machine};
use report::{Report, Totals};

/// The file systems of a guest live in it, beside what the tests use.
const MEMORY: u32 = 1536;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernel to boot: 6.1, 6.12, 7.3 or all [default: the oldest and the newest]
    #[arg(long, value_name = "VERSION")]
    kernel: Option<String>,
    /// Run only tests whose name (package::binary::test) matches
    #[arg(long, value_name = "REGEX")]
    filter: Option<String>,
    /// Machine to boot: plain, audit=1, ... or all [default: all, with --filter plain]
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Give a shell in the guest instead of running tests
    #[arg(long)]
    shell: bool,
    /// Keep the image that was booted
    #[arg(long)]
    keep: bool,
    /// How the guest's processor is made
    #[arg(long, value_enum, default_value_t = Accelerator::Auto)]
    accel: Accelerator,
    /// Install what is missing on the host (needs root)
    #[arg(long)]
    setup: bool,
    /// Ask for newer builds of the kernels
    #[arg(long)]
    refresh: bool,
    /// Seconds that one test may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Prove that every way to fail is reported as what it is
    #[arg(long, conflicts_with_all = ["filter", "group", "shell"])]
    selftest: bool,
    /// Arguments for the test binaries; shows what they write as it comes
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let start = Instant::now();
    let kernels = chosen(args.kernel.as_deref())?;
    let one = args.filter.is_some() || args.shell;
    let name = args
        .group
        .as_deref()
        .unwrap_or(if one { "plain" } else { "all" });
    let mut groups = groups(name)?;
    let filter = Regex::new(args.filter.as_deref().unwrap_or_default())
        .context("the regular expression of --filter")?;

    let directory = shell::root().join("target/vm");
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    let lock = only_one(&directory)?;
    let mut host = Host {
        many: kernels.len() > 1,
        accelerator: args.accel.resolve()?,
        timeout: Duration::from_secs(args.timeout),
        silence: Duration::from_secs(args.timeout + 60),
        args,
        directory,
        stages: Mutex::default(),
    };
    host.stage("set up the host", || tools::provide(args.setup))?;
    let left_out = leave_out(&mut groups, name)?;
    let mut store = Store::new(&host.directory, args.refresh);
    let kernels = host.stage("find the kernels", || {
        kernels
            .iter()
            .map(|kernel| store.get(*kernel))
            .collect::<Result<Vec<_>>>()
    })?;
    let built = host.stage("build the tests", build::tests)?;
    let directory = host.directory.clone();
    let layers = host.stage("collect the guest's files", || {
        // Not by two machines at once.
        for kernel in &kernels {
            modules::layer(kernel)?;
        }
        Layers::write(&built, &directory)
    })?;

    if args.shell {
        let kernel = kernels.last().context("no kernel")?;
        let group = groups.first().context("no group")?;
        host.attend(kernel, &layers, group)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.selftest {
        let passed = selftest::run(&mut host, &kernels, &layers, &built)?;
        host.print_stages(start);
        return Ok(if passed {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }

    let catalogue = host.stage("list the tests", || {
        Catalogue::read(&built, args.filter.is_some())
    })?;
    let mut machines: Vec<Vec<Part>> = Vec::new();
    for group in groups {
        let of_group = Regex::new(group.tests.unwrap_or_default()).context("a group's tests")?;
        let mut entries = catalogue.select(&[&filter, &of_group], &args.arguments);
        if group.tests.is_some() {
            for entry in &mut entries {
                entry.test.name = format!("{} @{}", entry.test.name, group.name);
            }
        }
        let part = Part { group, entries };
        match machines.last_mut() {
            _ if part.entries.is_empty() => {}
            Some(parts) if parts.iter().all(|other| other.group.boots_like(group)) => {
                parts.push(part)
            }
            _ => machines.push(vec![part]),
        }
    }
    // Those that take longest begin first.
    let boots: Vec<_> = machines
        .iter()
        .flat_map(|parts| kernels.iter().map(move |kernel| (kernel, parts)))
        .collect();
    let mut totals = Totals::default();
    let booted = abreast::map(&boots, abreast::machines(MEMORY), |&(kernel, parts)| {
        host.boot(kernel, &layers, parts)
    });
    for booted in booted {
        totals.add(booted?);
    }
    drop(lock);
    if totals.passed + totals.failed + totals.skipped.len() == 0 {
        bail!("no test matches {filter}");
    }
    host.print_stages(start);
    for skipped in &left_out {
        eprintln!("{skipped}");
    }
    totals.skipped.extend(left_out);
    for (name, how) in &totals.failures {
        eprintln!("failed: {name}: {how}");
    }
    eprintln!("{}", totals.summary(start.elapsed(), ""));
    Ok(ExitCode::from(totals.code.unwrap_or(0)))
}

fn chosen(name: Option<&str>) -> Result<Vec<Kernel>> {
    Ok(match name {
        Some("all") => KERNELS.to_vec(),
        Some(name) => {
            let Some(kernel) = KERNELS.iter().find(|kernel| kernel.name == name) else {
                let names: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
                bail!("no kernel {name}; there are {} and all", names.join(", "));
            };
            vec![*kernel]
        }
        None => KERNELS
            .iter()
            .copied()
            .take(1)
            .chain(KERNELS.last().copied())
            .collect(),
    })
}

fn groups(name: &str) -> Result<Vec<&'static Group>> {
    let chosen = |group: &&Group| name == "all" || name == group.name;
    let groups: Vec<_> = GROUPS.iter().filter(chosen).collect();
    if groups.is_empty() {
        let names: Vec<_> = GROUPS.iter().map(|group| group.name).collect();
        bail!("no machine {name}; there are {} and all", names.join(", "));
    }
    Ok(groups)
}

/// Takes out the groups that need what is not installed, with a line on each;
/// an error when none is left.
fn leave_out(groups: &mut Vec<&'static Group>, name: &str) -> Result<Vec<String>> {
    let lacking = systemd::missing().join(" ");
    if lacking.is_empty() {
        return Ok(Vec::new());
    }
    let why =
        format!("not installed: {lacking}; as root: apt-get install {lacking} (or give --setup)");
    let left_out = groups.extract_if(.., |group| group.cgroups == Cgroups::Systemd);
    let left_out: Vec<_> = left_out
        .map(|group| format!("SKIPPED machine {}: {why}", group.name))
        .collect();
    if groups.is_empty() {
        bail!("machine {name}: {why}");
    }
    Ok(left_out)
}

/// Two runs at once on a small host only make each other time out.
fn only_one(directory: &Path) -> Result<File> {
    let path = directory.join("lock");
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    flock(&file, FlockOperation::LockExclusive)
        .with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

/// The same for the same value, in every run of the same build.
fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The path as a job can name it.
fn text(path: &Path) -> Result<String> {
    let text = path.to_str();
    let text = text.with_context(|| format!("{} is no text", path.display()))?;
    Ok(text.to_owned())
}

/// The tests of a group.
struct Part {
    group: &'static Group,
    entries: Vec<Entry>,
}

/// The group that says how a machine of these boots.
fn first(parts: &[Part]) -> Result<&'static Group> {
    Ok(parts.first().context("a machine without tests")?.group)
}

/// Boots machines, and knows how long everything took.
struct Host<'a> {
    args: &'a Args,
    accelerator: Accelerator,
    /// How long one test may take.
    timeout: Duration,
    /// A machine that says nothing for this long has hung.
    silence: Duration,
    directory: PathBuf,
    stages: Mutex<Vec<(String, Duration)>>,
    /// Whether what is said is of one kernel of several.
    many: bool,
}

impl Host<'_> {
    fn stage<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let result = work().with_context(|| name.to_owned());
        self.took(name.to_owned(), start.elapsed());
        result
    }

    fn took(&self, what: String, time: Duration) {
        let stages = self.stages.lock();
        let mut stages = stages.unwrap_or_else(PoisonError::into_inner);
        stages.push((what, time));
    }

    fn limits(&mut self, timeout: Duration, silence: Duration) {
        self.timeout = timeout;
        self.silence = silence;
    }

    fn print_stages(&self, start: Instant) {
        eprintln!();
        let stages = self.stages.lock();
        for (name, took) in stages.unwrap_or_else(PoisonError::into_inner).iter() {
            eprintln!("{:7.1} s  {name}", took.as_secs_f32());
        }
        eprintln!("{:7.1} s  in all\n", start.elapsed().as_secs_f32());
    }

    fn job(&self, layers: &Layers, parts: &[Part]) -> Result<Job> {
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let phase = |part: &Part| {
            let mut environment: BTreeMap<_, _> =
                part.group.environment().iter().map(text).collect();
            environment.insert(build::NUCLEUS.to_owned(), layers.nucleus.clone());
            Phase {
                sysctls: part.group.sysctls.iter().map(text).collect(),
                environment,
                tests: part
                    .entries
                    .iter()
                    .map(|entry| entry.test.clone())
                    .collect(),
            }
        };
        Ok(Job {
            nonce: format!("{:016x}", hash(&(std::process::id(), SystemTime::now()))),
            timeout: self.timeout,
            cgroups: first(parts)?.cgroups,
            phases: parts.iter().map(phase).collect(),
            shell: self.args.shell,
        })
    }

    /// Boots a machine for groups that can share it.
    fn boot(&self, kernel: &Unpacked, layers: &Layers, parts: &[Part]) -> Result<Totals> {
        let group = first(parts)?;
        let what = format!("{} {}", kernel.release, group.name);
        eprintln!("\n=== {what}");
        let job = self.job(layers, parts)?;
        let run = self.directory.join("run").join(what.replace(' ', "-"));
        fs::create_dir_all(&run).with_context(|| format!("making {}", run.display()))?;
        let image = run.join("image.cpio");
        let start = Instant::now();
        layers.image(kernel, &job, &image)?;
        let packed = start.elapsed();

        let machine = self.machine(kernel, group, &image);
        let entries: Vec<_> = parts.iter().flat_map(|part| &part.entries).collect();
        let label = if self.many { &kernel.release } else { "" };
        let log = File::create(run.join("output.log")).context("making the log of a machine")?;
        let live = !self.args.arguments.is_empty();
        let mut report = Report::new(entries, label, &job.nonce, log, live);
        let mut booted = None;
        let end = machine.run(|line| {
            let said = report.line(line);
            if booted.is_none() && report.ready.is_some() {
                booted = Some(start.elapsed());
            }
            said
        })?;
        report.finish(end, &machine.console)?;
        if let Some(release) = &report.ready
            && *release != kernel.release
        {
            bail!("{release} has booted and not {}", kernel.release);
        }
        if self.args.keep {
            eprintln!("kept: {}", image.display());
        } else {
            fs::remove_file(&image).with_context(|| format!("removing {}", image.display()))?;
        }
        let booted = booted.unwrap_or(start.elapsed());
        let seconds = |took: Duration| took.as_secs_f32();
        let parts = format!(
            "{what}: image {:.1}, boot {:.1}, tests {:.1}",
            seconds(packed),
            seconds(booted.saturating_sub(packed)),
            seconds(start.elapsed().saturating_sub(booted)),
        );
        self.took(parts, start.elapsed());
        let totals = report.totals;
        let mut end = String::new();
        for skipped in &totals.skipped {
            end += &format!("        SKIP {}\n", skipped.trim_start_matches("SKIPPED "));
        }
        end += &totals.summary(start.elapsed(), &format!("{what}: "));
        eprintln!("{end}");
        Ok(totals)
    }

    /// Boots a machine whose console is our terminal.
    fn attend(&self, kernel: &Unpacked, layers: &Layers, group: &'static Group) -> Result<()> {
        let image = self.directory.join("shell.cpio");
        let entries = Vec::new();
        let job = self.job(layers, &[Part { group, entries }])?;
        layers.image(kernel, &job, &image)?;
        self.machine(kernel, group, &image).attend()
    }

    fn machine<'a>(&self, kernel: &'a Unpacked, group: &'a Group, image: &'a Path) -> Machine<'a> {
        Machine {
            kernel: &kernel.image,
            image,
            append: group.append,
            accelerator: self.accelerator,
            memory: MEMORY,
            console: image.with_file_name("console.log"),
            silence: self.silence,
            limit: Duration::from_secs(60 * 60),
        }
    }
}
