//! The smallest programs: what a race starts a million times should start fast.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// What a program does.
#[derive(Debug, Clone, Copy)]
pub enum Exits {
    /// It ends with this status.
    With(u8),
    /// It ends with the first byte of its first argument for a status.
    WithItsArgument,
}

/// Writes a static program for this machine to `path`; `None` where nobody has
/// assembled one.
///
/// # Errors
///
/// Those of the file system.
pub fn write(path: &Path, exits: Exits) -> io::Result<Option<()>> {
    let Some((machine, code)) = assembled(exits) else {
        return Ok(None);
    };
    fs::write(path, elf(machine, &code))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(Some(()))
}

/// The number of the machine (`EM_*`) and its instructions.
fn assembled(exits: Exits) -> Option<(u16, Vec<u8>)> {
    if cfg!(target_arch = "x86_64") {
        let mut code = match exits {
            // mov edi, status
            Exits::With(status) => vec![0xbf, status, 0, 0, 0],
            // mov rdi, [rsp + 16]; movzx edi, byte [rdi]
            Exits::WithItsArgument => vec![0x48, 0x8b, 0x7c, 0x24, 0x10, 0x0f, 0xb6, 0x3f],
        };
        // mov eax, 60; syscall
        code.extend([0xb8, 60, 0, 0, 0, 0x0f, 0x05]);
        return Some((62, code));
    }
    if cfg!(target_arch = "aarch64") {
        let mut words = match exits {
            // movz w0, #status
            Exits::With(status) => vec![0x5280_0000 | u32::from(status) << 5],
            // ldr x0, [sp, #16]; ldrb w0, [x0]
            Exits::WithItsArgument => vec![0xf940_0be0, 0x3940_0000],
        };
        // movz w8, #93; svc #0
        words.extend([0x5280_0ba8, 0xd400_0001]);
        let code = words.iter().flat_map(|word: &u32| word.to_le_bytes());
        return Some((183, code.collect()));
    }
    None
}

fn elf(machine: u16, code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut put = |bytes: &[u8]| elf.extend_from_slice(bytes);
    put(&2_u16.to_le_bytes()); // ET_EXEC
    put(&machine.to_le_bytes());
    put(&1_u32.to_le_bytes());
    for value in [BASE + HEADERS, 64, 0] {
        put(&value.to_le_bytes()); // entry, phoff, shoff
    }
    put(&0_u32.to_le_bytes());
    for value in [64_u16, 56, 1, 64, 0, 0] {
        put(&value.to_le_bytes()); // ehsize, phentsize, phnum, shentsize, shnum, shstrndx
    }
    put(&1_u32.to_le_bytes()); // PT_LOAD
    put(&5_u32.to_le_bytes()); // R+X
    for value in [0, BASE, BASE, size, size, 0x1000] {
        put(&value.to_le_bytes()); // offset, vaddr, paddr, filesz, memsz, align
    }
    put(code);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_end_as_they_should() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("program");
        for (exits, expected) in [(Exits::With(7), 7), (Exits::WithItsArgument, 112)] {
            if write(&file, exits).expect("written").is_none() {
                return;
            }
            let status = std::process::Command::new(&file).arg("public").status();
            assert_eq!(status.expect("started").code(), Some(expected));
        }
    }
}
