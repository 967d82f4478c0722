//! What the clocks of a vDSO are replaced by: code that runs in the program.
//!
//! It asks the functions that were there, and adds the shift. All that differs
//! between processes is in the words at its beginning.

/// The code, to be put into a vDSO at an address that 16 divides.
#[derive(Debug)]
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "there is none for this processor")
)]
pub(crate) struct ClockCode {
    /// With its words still zero.
    pub(crate) bytes: Vec<u8>,
    /// Where in it `clock_gettime` begins.
    pub(crate) clock_gettime: usize,
    /// Where `gettimeofday` begins.
    pub(crate) gettimeofday: usize,
    /// Where `time` begins.
    pub(crate) time: usize,
}

/// Five words of 64 bits: the addresses of the vDSO's own `clock_gettime` and
/// `gettimeofday`; the shift's seconds, and the nanoseconds and microseconds
/// on top of them.
pub(crate) const WORDS: usize = 5;

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .rodata.nucleus_clock, \"a\", @progbits",
    // Seen by the rest of this program, whatever object file it is in.
    ".irp label, code, gettime, code_end",
    ".globl nucleus_clock_\\label",
    ".hidden nucleus_clock_\\label",
    ".endr",
    ".irp label, gettimeofday, time",
    ".globl nucleus_\\label",
    ".hidden nucleus_\\label",
    ".endr",
    ".balign 16",
    "nucleus_clock_code:",
    ".Lreal_clock_gettime: .quad 0",
    ".Lreal_gettimeofday: .quad 0",
    ".Lshift_seconds: .quad 0",
    ".Lshift_nanoseconds: .quad 0",
    ".Lshift_microseconds: .quad 0",
    ".balign 16",
    // int clock_gettime(clockid_t edi, struct timespec *rsi)
    "nucleus_clock_gettime:",
    ".Lclock_gettime:",
    // CLOCK_REALTIME_COARSE lags: it would say a time before the start.
    "cmp edi, 5",
    "jne 2f",
    "xor edi, edi",
    "2:",
    "push rdi",
    "push rsi",
    "sub rsp, 8",
    "call [rip + .Lreal_clock_gettime]",
    "add rsp, 8",
    "pop rsi",
    "pop rdi",
    "test eax, eax",
    "jnz 3f",
    // CLOCK_REALTIME, CLOCK_REALTIME_ALARM, CLOCK_TAI.
    "cmp edi, 11",
    "ja 3f",
    "mov ecx, 0x901",
    "bt ecx, edi",
    "jnc 3f",
    "mov rcx, [rip + .Lshift_seconds]",
    "add [rsi], rcx",
    "mov rcx, [rsi + 8]",
    "add rcx, [rip + .Lshift_nanoseconds]",
    "cmp rcx, 1000000000",
    "jl 4f",
    "sub rcx, 1000000000",
    "inc qword ptr [rsi]",
    "4:",
    "mov [rsi + 8], rcx",
    "3:",
    "ret",
    ".balign 16",
    // int gettimeofday(struct timeval *rdi, struct timezone *rsi)
    "nucleus_gettimeofday:",
    "push rdi",
    "call [rip + .Lreal_gettimeofday]",
    "pop rdi",
    "test eax, eax",
    "jnz 5f",
    "test rdi, rdi",
    "jz 5f",
    "mov rcx, [rip + .Lshift_seconds]",
    "add [rdi], rcx",
    "mov rcx, [rdi + 8]",
    "add rcx, [rip + .Lshift_microseconds]",
    "cmp rcx, 1000000",
    "jl 6f",
    "sub rcx, 1000000",
    "inc qword ptr [rdi]",
    "6:",
    "mov [rdi + 8], rcx",
    "5:",
    "ret",
    ".balign 16",
    // time_t time(time_t *rdi)
    "nucleus_time:",
    "push rdi",
    "sub rsp, 16",
    "xor edi, edi",
    "mov rsi, rsp",
    "call .Lclock_gettime",
    "mov rax, [rsp]",
    "add rsp, 16",
    "pop rdi",
    "test rdi, rdi",
    "jz 7f",
    "mov [rdi], rax",
    "7:",
    "ret",
    "nucleus_clock_code_end:",
    ".popsection",
);

#[cfg(target_arch = "x86_64")]
pub(crate) fn clock_code() -> Option<ClockCode> {
    unsafe extern "C" {
        static nucleus_clock_code: u8;
        static nucleus_clock_gettime: u8;
        static nucleus_gettimeofday: u8;
        static nucleus_time: u8;
        static nucleus_clock_code_end: u8;
    }
    let begin = &raw const nucleus_clock_code;
    let offset = |label: *const u8| label.addr() - begin.addr();
    let length = offset(&raw const nucleus_clock_code_end);
    // SAFETY: the labels enclose initialised bytes of a section that is never
    // written to.
    let bytes = unsafe { std::slice::from_raw_parts(begin, length) };
    Some(ClockCode {
        bytes: bytes.to_vec(),
        clock_gettime: offset(&raw const nucleus_clock_gettime),
        gettimeofday: offset(&raw const nucleus_gettimeofday),
        time: offset(&raw const nucleus_time),
    })
}

/// Elsewhere there is none: a vDSO is hidden then, and each clock is a call.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn clock_code() -> Option<ClockCode> {
    None
}
