//! 32-bit x86 programs, assembled by hand: no compiler for i386 needed.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// What the program prints.
pub const OUTPUT: &[u8] = b"32 bits\n";

/// Where the file is mapped.
const BASE: u32 = 0x0804_8000;
const EHDR: u32 = 52;
const PHDR: u32 = 32;

/// Where the data are: behind the headers, and before the code.
const DATA: u32 = BASE + EHDR + PHDR;

const EAX: u8 = 0;
const ECX: u8 = 1;
const EDX: u8 = 2;
const EBX: u8 = 3;

fn mov(register: u8, value: u32) -> Vec<u8> {
    let mut instruction = vec![0xb8 + register];
    instruction.extend(value.to_le_bytes());
    instruction
}

/// A call by `int 0x80` with these registers.
fn call(number: u32, registers: &[(u8, u32)]) -> Vec<u8> {
    let moves = registers
        .iter()
        .flat_map(|&(register, value)| mov(register, value));
    let mut code: Vec<u8> = moves.collect();
    code.extend(mov(EAX, number));
    code.extend([0xcd, 0x80]);
    code
}

const EXIT: u32 = 1;
const WRITE: u32 = 4;
const TIME: u32 = 13;
const GETPID: u32 = 20;

/// A static ELF program for i386 that calls getpid, write and exit by `int 0x80`
/// and ends with status 0.
#[must_use]
pub fn hello() -> Vec<u8> {
    let length = u32::try_from(OUTPUT.len()).expect("a short text");
    let print = call(WRITE, &[(EBX, 1), (ECX, DATA), (EDX, length)]);
    let code = [call(GETPID, &[]), print, call(EXIT, &[(EBX, 0)])].concat();
    program(OUTPUT, &code)
}

/// How much [`clock`] prints of its stack.
pub const STACK: usize = 512;

/// A program that prints what time(2) says, in 4 bytes, and then the first
/// bytes of its stack, where the auxiliary vector is.
#[must_use]
pub fn clock() -> Vec<u8> {
    let mut code = call(TIME, &[(EBX, 0)]);
    code.push(0xa3); // mov [DATA], eax
    code.extend(DATA.to_le_bytes());
    code.extend(call(WRITE, &[(EBX, 1), (ECX, DATA), (EDX, 4)]));
    code.extend([0x89, 0xe1]); // mov ecx, esp
    let length = u32::try_from(STACK).expect("a short piece");
    code.extend(call(WRITE, &[(EDX, length)]));
    code.extend(call(EXIT, &[(EBX, 0)]));
    program(&[0; 4], &code)
}

/// An executable file of data and code in one segment.
fn program(data: &[u8], code: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a short program");
    let code_at = DATA + length(data);
    let size = EHDR + PHDR + length(data) + length(code);
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
    for value in [1, 0, BASE, BASE, size, size, 7, 0x1000] {
        elf.extend(word(value)); // PT_LOAD, offset, vaddr, paddr, filesz, memsz, RWX, align
    }
    elf.extend(data);
    elf.extend(code);
    elf
}

/// Writes the program to `path`, executable.
///
/// # Errors
///
/// Those of the file system.
pub fn write_hello(path: &Path) -> io::Result<()> {
    write(path, &hello())
}

/// Writes a program to `path`, executable.
///
/// # Errors
///
/// Those of the file system.
pub fn write(path: &Path, program: &[u8]) -> io::Result<()> {
    fs::write(path, program)?;
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
