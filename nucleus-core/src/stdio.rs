//! Where the standard streams come from.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::error::LaunchError;
use crate::plan::Stream;

/// Where a standard stream of the program comes from or goes to; as
/// [`std::process::Stdio`], which keeps its descriptor to itself.
#[derive(Debug, Default)]
pub enum Stdio {
    /// The stream of this process.
    #[default]
    Inherit,
    /// `/dev/null`.
    Null,
    /// A new pipe, whose other end is in the [`Child`](crate::Child).
    Piped,
    /// This descriptor.
    Fd(OwnedFd),
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Self {
        Self::Fd(fd)
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        Self::Fd(file.into())
    }
}

/// Fails if a stream that the program of a sandbox gets is a folder. By `..` it
/// leads to all of the host that the mounts hide, and by `fchmodat(2)`, which
/// Landlock does not see, to the modes and times of whatever is its user's there.
pub(crate) fn refuse_folder(stream: Stream, end: Option<&OwnedFd>) -> Result<(), LaunchError> {
    let inherited = || match stream {
        Stream::Stdin => rustix::stdio::stdin(),
        Stream::Stdout => rustix::stdio::stdout(),
        Stream::Stderr => rustix::stdio::stderr(),
    };
    let stat = rustix::fs::fstat(end.map_or_else(inherited, AsFd::as_fd));
    // One that is closed leads nowhere.
    let is_folder =
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    if is_folder {
        return Err(LaunchError::FolderAsStream {
            stream: stream.to_string(),
        });
    }
    Ok(())
}

/// A stream made ready: the program's end, and the parent's end of a pipe.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) program: Option<OwnedFd>,
    pub(crate) parent: Option<OwnedFd>,
}

impl Stdio {
    /// Opens what the program's end needs.
    pub(crate) fn open(&self, stream: Stream) -> io::Result<Ends> {
        Ok(match self {
            Self::Inherit => Ends::default(),
            Self::Null => Ends {
                program: Some(above_streams(
                    File::options()
                        .read(true)
                        .write(true)
                        .open("/dev/null")?
                        .into(),
                )?),
                parent: None,
            },
            Self::Piped => {
                let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
                let (program, parent) = match stream {
                    Stream::Stdin => (read, write),
                    Stream::Stdout | Stream::Stderr => (write, read),
                };
                Ends {
                    program: Some(above_streams(program)?),
                    parent: Some(parent),
                }
            }
            Self::Fd(fd) => Ends {
                program: Some(above_streams(fd.try_clone()?)?),
                parent: None,
            },
        })
    }
}

/// Moves a descriptor out of the range 0 to 2, where connecting the streams
/// would overwrite it, should this process have been started without them.
pub(crate) fn above_streams(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    use std::os::fd::AsRawFd;
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, 3)
}
