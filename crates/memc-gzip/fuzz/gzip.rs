//! Any bytes as gzip, read in pieces of any size: the output, or the kind of error, of flate2.

#![no_main]

use std::io::{self, BufReader, ErrorKind, Read};

use flate2::bufread::GzDecoder;
use libfuzzer_sys::fuzz_target;
use memc_gzip::GzReader;

fuzz_target!(|data: &[u8]| {
    let Some((&[piece, _], compressed)) = data.split_first_chunk() else { return };
    let input = BufReader::with_capacity(1 + usize::from(piece), compressed);
    let mut output = Vec::new();
    let result = GzReader::new(input).read_to_end(&mut output).map(drop);
    let mut reference = Vec::new();
    let reference_result = read_by_flate2(compressed, &mut reference);
    match [result, reference_result].map(|result| result.map_err(|error| error.kind())) {
        [Ok(()), Ok(())] => assert!(output == reference, "other output"),
        // Where the input ends, either may lack the bits that show the other one that they are no code.
        [Err(ErrorKind::UnexpectedEof), Err(ErrorKind::InvalidInput)]
        | [Err(ErrorKind::InvalidInput), Err(ErrorKind::UnexpectedEof)] => {}
        [result, reference_result] => assert_eq!(result, reference_result),
    }
    // Either may hand out more before an error.
    let common = output.len().min(reference.len());
    assert!(output[..common] == reference[..common], "other output");
});

/// Member after member, with the zeros around them skipped.
fn read_by_flate2(mut compressed: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    while let Some(start) = compressed.iter().position(|&byte| byte != 0) {
        let mut member = GzDecoder::new(&compressed[start..]);
        member.read_to_end(output)?;
        compressed = member.into_inner();
    }
    Ok(())
}
