//! Every program's listing and bytes read back to the same program.

mod common;

use nucleus_seccomp::{Endian, Program};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_listing_reads_back(insns in prop_oneof![common::plausible_insns(), common::wild_insns()]) {
        if let Ok(program) = Program::new(insns) {
            let listing = program.to_string();
            prop_assert_eq!(listing.parse::<Program>(), Ok(program), "{}", listing);
        }
    }

    #[test]
    fn raw_programs_show_their_byte_order(insns in common::plausible_insns()) {
        if let Ok(program) = Program::new(insns) {
            for endian in [Endian::Little, Endian::Big] {
                let read = Program::from_raw(&program.to_bytes(endian));
                prop_assert_eq!(read, Ok((program.clone(), endian)));
            }
        }
    }
}
