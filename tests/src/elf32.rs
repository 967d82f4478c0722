//! A 32-bit x86 program, assembled by hand: no compiler for i386 needed.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// What the program prints.
pub const OUTPUT: &[u8] = b"32 bits\n";

/// Where the file is mapped; code follows the headers.
const BASE: u32 = 0x0804_8000;
const EHDR: u32 = 52;
const PHDR: u32 = 32;

/// A static ELF program for i386 that calls getpid, write and exit by `int 0x80`
/// and ends with status 0.
#[must_use]
pub fn hello() -> Vec<u8> {
    let code_at = BASE + EHDR + PHDR;
    let code_len = 36;
    let message_at = code_at + code_len;
    let message_len = u32::try_from(OUTPUT.len()).expect("a short text");
    let size = EHDR + PHDR + code_len + message_len;

    let mut code = Vec::new();
    let mov = |register: u8, value: u32| {
        let mut instruction = vec![0xb8 + register];
        instruction.extend(value.to_le_bytes());
        instruction
    };
    let (eax, ecx, edx, ebx) = (0, 1, 2, 3);
    let int80 = [0xcd, 0x80];
    code.extend(mov(eax, 20)); // getpid
    code.extend(int80);
    code.extend(mov(eax, 4)); // write
    code.extend(mov(ebx, 1));
    code.extend(mov(ecx, message_at));
    code.extend(mov(edx, message_len));
    code.extend(int80);
    code.extend([0x31, 0xc0]); // xor eax, eax
    code.extend([0x40]); // inc eax: exit
    code.extend([0x31, 0xdb]); // xor ebx, ebx
    code.extend(int80);
    assert_eq!(code.len(), code_len as usize);

    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |value: u16| value.to_le_bytes();
    let word = |value: u32| value.to_le_bytes();
    elf.extend(half(2)); // ET_EXEC
    elf.extend(half(3)); // EM_386
    for value in [1, code_at, EHDR, 0, 0] {
        elf.extend(word(value)); // version, entry, phoff, shoff, flags
    }
    for value in [52, 32, 1, 40, 0, 0] {
        elf.extend(half(value)); // ehsize, phentsize, phnum, shentsize, shnum, shstrndx
    }
    for value in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        elf.extend(word(value)); // PT_LOAD, offset, vaddr, paddr, filesz, memsz, R+X, align
    }
    elf.extend(code);
    elf.extend(OUTPUT);
    elf
}

/// Writes the program to `path`, executable.
///
/// # Errors
///
/// Those of the file system.
pub fn write_hello(path: &Path) -> io::Result<()> {
    fs::write(path, hello())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// Runs the program.
pub(crate) fn run_hello() -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("hello32");
    write_hello(&path)?;
    let output = Command::new(path).output()?;
    if output.status.success() && output.stdout == OUTPUT {
        Ok(())
    } else {
        Err(io::Error::other(format!("it ended with {}", output.status)))
    }
}
