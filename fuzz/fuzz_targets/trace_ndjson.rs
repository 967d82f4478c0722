//! Any bytes are a trace or an error; a trace is written as it was read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nucleus_profile::Trace;

fuzz_target!(|bytes: &[u8]| {
    let Ok(trace) = Trace::read(bytes) else { return };
    let mut written = Vec::new();
    trace.write(&mut written).expect("writing to memory");
    let again = Trace::read(&written[..]).expect("what was written can be read");
    assert_eq!(again.calls(), trace.calls());
    assert_eq!(again.completeness(), trace.completeness());
});
