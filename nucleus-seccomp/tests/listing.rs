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

    /// Any bytes are a program, which is written as it was read, or an error.
    #[test]
    fn any_bytes_are_a_program_or_an_error(bytes in prop::collection::vec(0_u8..0x40, 0..64)) {
        if let Ok((program, endian)) = Program::from_raw(&bytes) {
            prop_assert_eq!(program.to_bytes(endian), bytes);
        }
    }

    #[test]
    fn any_text_is_a_program_or_an_error(text in "([0-9a-z#\\[\\]().,;: \n-]|ld|jeq|ret|allow|\u{20ac}){0,40}") {
        if let Ok(program) = text.parse::<Program>() {
            prop_assert_eq!(program.to_string().parse::<Program>(), Ok(program));
        }
    }
}
