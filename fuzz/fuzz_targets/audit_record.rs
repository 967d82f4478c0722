//! Any bytes as a line of a log, as a netlink message, and as a line made of
//! the bytes where a program chooses them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nucleus_audit::{SeccompRecord, call_in_line};

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = SeccompRecord::from_line(data) {
        assert!(record.comm.len() <= data.len());
    }
    // Whatever it is, the caller has to get a record or an error.
    drop(SeccompRecord::from_message(data));
    let _call = call_in_line(data);

    let hex: String = data.iter().map(|byte| format!("{byte:02X}")).collect();
    let line = format!(
        "type=1326 audit(1.2:3): auid=1 uid=2 gid=3 ses=4 pid=5 comm={hex} exe=\"/x\" sig=0 \
         arch=c000003e syscall=6 compat=0 ip=0x7 code=0x50000"
    );
    if let Ok(record) = SeccompRecord::from_line(line.as_bytes()) {
        assert_eq!((record.pid, record.syscall), (5, 6));
        assert_eq!(record.comm.as_encoded_bytes(), data);
    }
});
