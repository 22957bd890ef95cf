//! Whether a program runs without a dynamic loader.

use anyhow::{Context, Result};
use object::elf::{FileHeader64, PT_INTERP};
use object::endian::Endianness;
use object::read::elf::{FileHeader, ProgramHeader};

/// True for a program that names no dynamic loader (`PT_INTERP`), and so needs no shared library.
pub(crate) fn is_static(file: &[u8]) -> Result<bool> {
    let header = FileHeader64::<Endianness>::parse(file).context("read the ELF header")?;
    let endian = header.endian().context("read the ELF header")?;
    let segments = header.program_headers(endian, file).context("read the program headers")?;
    Ok(segments.iter().all(|segment| segment.p_type(endian) != PT_INTERP))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header, and one segment of the given type.
    fn program(segment: u32) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[20] = 1; // e_version
        file[32] = 64; // e_phoff
        file[52] = 64; // e_ehsize
        file[54] = 56; // e_phentsize
        file[56] = 1; // e_phnum
        file[64..68].copy_from_slice(&segment.to_le_bytes());
        file
    }

    #[test]
    fn a_program_that_names_no_loader_is_static() {
        assert!(is_static(&program(object::elf::PT_LOAD)).unwrap());
        assert!(!is_static(&program(PT_INTERP)).unwrap());
    }

    #[test]
    fn a_file_that_is_not_a_program_is_an_error() {
        assert!(is_static(b"#!/bin/sh\n").is_err());
        assert!(is_static(b"").is_err());
    }
}
