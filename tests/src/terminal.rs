//! A terminal with somebody at it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, OptionalActions, Winsize};

use crate::sys;

/// A hang is a failure, not a wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// The keyboard and the screen of a program that has a terminal of its own.
#[derive(Debug)]
pub struct Terminal {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
}

impl Terminal {
    /// Starts the command as the leader of a session with this terminal, which
    /// does not echo what is typed.
    ///
    /// # Panics
    ///
    /// When there is no terminal to be had, or the command cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> (Self, Child) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let near = rustix::pty::openpt(flags).expect("a terminal");
        rustix::pty::grantpt(&near).expect("a terminal of our own");
        rustix::pty::unlockpt(&near).expect("a terminal that can be opened");
        let name = rustix::pty::ptsname(&near, Vec::new()).expect("the terminal's name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let far = rustix::fs::open(&name, flags, Mode::empty()).expect("the terminal's far end");
        let mut modes = rustix::termios::tcgetattr(&far).expect("the terminal's modes");
        modes.local_modes.remove(LocalModes::ECHO);
        rustix::termios::tcsetattr(&far, OptionalActions::Now, &modes).expect("no echo");
        let far = File::from(far);
        let copy = || far.try_clone().expect("another descriptor");
        command.stdin(copy()).stdout(copy()).stderr(copy());
        let child = sys::spawn_on_terminal(command).expect("starting a program on a terminal");

        let near = File::from(near);
        let keyboard = near.try_clone().expect("another descriptor");
        let (sender, screen) = mpsc::channel();
        std::thread::spawn(move || read_screen(near, &sender));
        let terminal = Self {
            keyboard,
            screen,
            shown: String::new(),
        };
        (terminal, child)
    }

    /// Types something.
    ///
    /// # Panics
    ///
    /// When the terminal is gone.
    pub fn type_in(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("typing");
    }

    /// Makes the window another size, of which the programs on it hear.
    ///
    /// # Panics
    ///
    /// When the terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&self.keyboard, size).expect("another size");
    }

    /// Whether keys come as lines, and some as signals; a raw terminal passes
    /// each one on.
    ///
    /// # Panics
    ///
    /// When the terminal is gone.
    #[must_use]
    pub fn is_cooked(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.keyboard).expect("the terminal's modes");
        let cooked = LocalModes::ICANON | LocalModes::ISIG;
        assert!(modes.local_modes & cooked == cooked || !modes.local_modes.intersects(cooked));
        modes.local_modes.contains(cooked)
    }

    /// Waits until the screen shows a text, from where the last wait ended on;
    /// returns what came before it.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn wait_for(&mut self, text: &str) -> String {
        loop {
            if let Some((before, after)) = self.shown.split_once(text) {
                let (before, after) = (before.to_owned(), after.to_owned());
                self.shown = after;
                return before;
            }
            let more = self.screen.recv_timeout(PATIENCE);
            let more = more.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.shown));
            self.shown += &String::from_utf8_lossy(&more);
        }
    }
}

/// Reads until the last program has left the terminal, which is an error.
fn read_screen(mut near: File, sender: &mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = near.read(&mut buffer)?;
        // Nobody looks any more when the test has ended.
        if length == 0 || sender.send(buffer[..length].to_vec()).is_err() {
            return Ok(());
        }
    }
}
