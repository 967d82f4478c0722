//! The memory of callers.

use std::ffi::CString;
use std::sync::{Arc, Mutex};

use nucleus_supervisor::{Errno, Reply, Request};

use crate::{answer, one, raw, supervised};

/// Two pages, of which the second cannot be accessed; nobody unmaps them.
fn page_before_a_hole() -> *mut u8 {
    let page = rustix::param::page_size();
    let flags = rustix::mm::MapFlags::PRIVATE;
    let protection = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
    let anywhere = std::ptr::null_mut();
    // SAFETY: a fresh mapping at an address that the kernel chooses.
    let start = unsafe { rustix::mm::mmap_anonymous(anywhere, 2 * page, protection, flags) };
    let start: *mut u8 = start.expect("mapped").cast();
    let hole = start.wrapping_add(page).cast();
    // SAFETY: the second page of the mapping that was just made.
    unsafe { rustix::mm::mprotect(hole, page, rustix::mm::MprotectFlags::empty()) }
        .expect("protected");
    start
}

/// Copies bytes so that they end right before the hole.
fn at_the_border(bytes: &[u8]) -> usize {
    let page = rustix::param::page_size();
    let target = page_before_a_hole().wrapping_add(page - bytes.len());
    // SAFETY: within the first page of a mapping of ours, which nobody frees.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    target.addr()
}

#[test]
fn paths_are_read_to_their_nul_and_never_beyond() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let registry = one("mkdirat", move |request: &Request| {
        let path = request.memory().path(request.data().args[1])?;
        sink.lock().expect("whole").push(path);
        answer(Reply::Value(0))
    });
    let longest = vec![b'l'; 4095];
    let expected = [
        b"at the border".to_vec(),
        b"\xff\xfe".to_vec(),
        longest.clone(),
    ];
    let (results, _) = supervised(registry, move || {
        let too_long = CString::new(vec![b'x'; 4096]).expect("no NUL");
        let longest = CString::new(longest).expect("no NUL");
        [
            at_the_border(b"at the border\0"),
            at_the_border(b"\xff\xfe\0"),
            longest.as_ptr().addr(),
            too_long.as_ptr().addr(),
            at_the_border(b"no end"),
            at_the_border(b""),
            0,
            usize::MAX,
        ]
        .map(|address| raw("mkdirat", [usize::MAX, address, 0, 0, 0, 0]))
    });
    assert_eq!(results[..3], [Ok(0); 3]);
    assert_eq!(results[3], Err(Errno::NAMETOOLONG));
    assert_eq!(results[4..], [Err(Errno::FAULT); 4]);
    assert_eq!(*seen.lock().expect("whole"), expected);
}

#[test]
fn vectors_and_messages_are_read_and_results_written() {
    let registry = one("sendmsg", |request: &Request| {
        let memory = request.memory();
        let header = memory.message_header(request.data().args[1])?;
        let length = u32::try_from(header.name.length).expect("fits");
        let name = memory.socket_address(header.name.address, length)?;
        assert_eq!(name, b"\x02\0\x12\x34abcd");
        assert_eq!(header.flags, 0x5555);
        let pieces = memory.pieces(header.pieces.address, header.pieces.length)?;
        let mut text = Vec::new();
        for piece in &pieces {
            let mut bytes = vec![0; usize::try_from(piece.length).expect("fits")];
            memory.read(piece.address, &mut bytes)?;
            text.extend(bytes);
        }
        assert_eq!(text, b"hello, world");
        memory.write(pieces[0].address, b"WRITE")?;
        // What the program itself could not write to.
        let constant = b"constant".as_ptr().addr() as u64;
        let refused = memory.write(constant, b"x").expect_err("read-only");
        assert_eq!(refused.errno(), Errno::FAULT);
        let too_many = memory.pieces(header.pieces.address, 1025);
        assert_eq!(too_many.expect_err("IOV_MAX").errno(), Errno::MSGSIZE);
        answer(Reply::Value(12))
    });
    let ((result, text), summary) = supervised(registry, || {
        let mut name = *b"\x02\0\x12\x34abcd";
        let mut texts = (*b"hello", *b", world");
        let piece = |base: *mut u8, length| libc::iovec {
            iov_base: base.cast(),
            iov_len: length,
        };
        let mut pieces = [
            piece(texts.0.as_mut_ptr(), 5),
            piece(texts.1.as_mut_ptr(), 7),
        ];
        // SAFETY: every bit pattern of this structure is valid.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = name.as_mut_ptr().cast();
        header.msg_namelen = 8;
        header.msg_iov = pieces.as_mut_ptr();
        header.msg_iovlen = 2;
        header.msg_flags = 0x5555;
        let address = (&raw const header).expose_provenance();
        let result = raw("sendmsg", [usize::MAX, address, 0, 0, 0, 0]);
        (result, std::hint::black_box(texts).0)
    });
    assert_eq!((result, summary.panicked), (Ok(12), 0));
    assert_eq!(&text, b"WRITE");
}
