use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;

fn decode(codings: &[ContentCoding], pieces: &[&[u8]]) -> Result<Vec<u8>, ProtocolNote> {
    let (mut decoder, mut decoded) = (ContentDecoder::new(codings), Vec::new());
    for piece in pieces {
        decoder.push(piece, &mut |bytes| decoded.extend_from_slice(bytes))?;
    }
    decoder.finish().map_or(Ok(decoded), Err)
}

fn encode(coding: ContentCoding, bytes: &[u8]) -> Vec<u8> {
    match coding {
        ContentCoding::Gzip => write_all(GzEncoder::new(Vec::new(), Compression::default()), bytes, GzEncoder::finish),
        ContentCoding::Deflate => {
            write_all(ZlibEncoder::new(Vec::new(), Compression::default()), bytes, ZlibEncoder::finish)
        }
        ContentCoding::Zstd => zstd::encode_all(bytes, 3).unwrap(),
        ContentCoding::Brotli => stored_brotli(bytes),
    }
}

fn write_all<W: Write>(mut encoder: W, bytes: &[u8], finish: fn(W) -> std::io::Result<Vec<u8>>) -> Vec<u8> {
    encoder.write_all(bytes).unwrap();
    finish(encoder).unwrap()
}

/// A brotli stream of uncompressed metablocks: we carry no encoder; the vectors have compressed ones.
fn stored_brotli(bytes: &[u8]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(0, 1); // window of 16 bits
    for block in bytes.chunks(1 << 16) {
        bits.put(0, 1); // not the last
        bits.put(0, 2); // four nibbles of length
        bits.put(u32::try_from(block.len()).unwrap() - 1, 16);
        bits.put(1, 1); // uncompressed
        bits.align();
        bits.bytes.extend_from_slice(block);
    }
    bits.put(0b11, 2); // last, empty
    bits.align();
    bits.bytes
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    current: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        for bit in 0..count {
            self.current |= (value >> bit & 1) << self.count;
            self.count += 1;
            if self.count == 8 {
                self.align();
            }
        }
    }

    fn align(&mut self) {
        if self.count > 0 {
            self.bytes.push(u8::try_from(self.current).unwrap());
            (self.current, self.count) = (0, 0);
        }
    }
}

#[test]
fn names() {
    use ContentCoding::*;
    assert_eq!(codings(""), Some(vec![]));
    assert_eq!(codings(" GZIP , br"), Some(vec![Gzip, Brotli]));
    assert_eq!(codings("identity, deflate, x-gzip, zstd, chunked"), Some(vec![Deflate, Gzip, Zstd]));
    assert_eq!(codings("gzip, snappy"), None);
    assert_eq!(codings("gzip,gzip,gzip,gzip,gzip"), None);
}

#[test]
fn a_flush_makes_an_event_visible_even_byte_by_byte() {
    let events = ["data: one\n\n", "data: two\n\n", "data: three\n\n"];
    for coding in [ContentCoding::Gzip, ContentCoding::Deflate, ContentCoding::Zstd] {
        let mut flushed: Vec<Vec<u8>> = Vec::new();
        match coding {
            ContentCoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                for event in events {
                    encoder.write_all(event.as_bytes()).unwrap();
                    encoder.flush().unwrap();
                    flushed.push(std::mem::take(encoder.get_mut()));
                }
            }
            ContentCoding::Deflate => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
                for event in events {
                    encoder.write_all(event.as_bytes()).unwrap();
                    encoder.flush().unwrap();
                    flushed.push(std::mem::take(encoder.get_mut()));
                }
            }
            _ => {
                let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
                for event in events {
                    encoder.write_all(event.as_bytes()).unwrap();
                    encoder.flush().unwrap();
                    flushed.push(std::mem::take(encoder.get_mut()));
                }
            }
        }
        let mut decoder = ContentDecoder::new(&[coding]);
        for (event, bytes) in events.iter().zip(&flushed) {
            let mut decoded = Vec::new();
            for byte in bytes {
                decoder.push(&[*byte], &mut |bytes| decoded.extend_from_slice(bytes)).unwrap();
            }
            assert_eq!(decoded, event.as_bytes(), "{coding:?}");
        }
    }
}

#[test]
fn bombs_are_stopped() {
    let zeros = vec![0; 9 << 20];
    for coding in [ContentCoding::Gzip, ContentCoding::Deflate, ContentCoding::Zstd] {
        let bomb = encode(coding, &zeros);
        for size in [bomb.len(), 16_384, 100] {
            let (mut decoder, mut made) = (ContentDecoder::new(&[coding]), 0);
            let stopped =
                bomb.chunks(size).find_map(|piece| decoder.push(piece, &mut |bytes| made += bytes.len()).err());
            assert_eq!(
                stopped,
                Some(ProtocolNote { protocol: coding.name(), reason: "bomb" }),
                "{coding:?} in pieces of {size}"
            );
            assert!(made <= 2 * DECODED_PER_PIECE, "{coding:?}: {made} bytes got through");
        }
    }
    let twice = encode(ContentCoding::Gzip, &encode(ContentCoding::Gzip, &zeros));
    assert_eq!(decode(&[ContentCoding::Gzip, ContentCoding::Gzip], &[&twice]).unwrap_err().reason, "bomb");
}

#[test]
fn a_window_over_the_cap_is_refused() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(ZSTD_WINDOW_LOG + 1).unwrap();
    encoder.write_all(&[1; 100]).unwrap();
    let stream = encoder.finish().unwrap();
    assert_eq!(decode(&[ContentCoding::Zstd], &[&stream]).unwrap_err().reason, "corrupt");
    // brotli's "large window" extension asks for up to a gigabyte
    assert_eq!(decode(&[ContentCoding::Brotli], &[&[0x11, 0x1e, 0, 0, 0, 0]]).unwrap_err().reason, "corrupt");
}

#[test]
fn truncated_and_corrupt_streams_are_told_apart() {
    for coding in [ContentCoding::Gzip, ContentCoding::Deflate, ContentCoding::Brotli, ContentCoding::Zstd] {
        let whole = encode(coding, &b"some text ".repeat(50));
        let note = |reason| ProtocolNote { protocol: coding.name(), reason };
        assert_eq!(decode(&[coding], &[&whole[..whole.len() - 1]]), Err(note("truncated")), "{coding:?}");
        assert_eq!(decode(&[coding], &[b"\xff\xff\xff\xff\xff\xff\xff\xff\xff"]), Err(note("corrupt")), "{coding:?}");
        assert_eq!(decode(&[coding], &[]), Ok(vec![]), "{coding:?}: no body is no error");
    }
}

#[test]
fn output_that_ends_with_the_scratch_is_whole() {
    for coding in [ContentCoding::Gzip, ContentCoding::Deflate, ContentCoding::Brotli, ContentCoding::Zstd] {
        let text = vec![7; 2 * super::SCRATCH];
        assert_eq!(decode(&[coding], &[&encode(coding, &text)]), Ok(text), "{coding:?}");
    }
}

proptest! {
    #[test]
    fn what_was_encoded_comes_out(
        bytes in prop::collection::vec(any::<u8>(), 1..5000),
        repeat in 1..20_usize,
        size in 1..700_usize,
        stack in prop::collection::vec(0..4_usize, 1..=CONTENT_CODINGS),
    ) {
        let all = [ContentCoding::Gzip, ContentCoding::Deflate, ContentCoding::Brotli, ContentCoding::Zstd];
        let codings: Vec<_> = stack.iter().map(|index| all[*index]).collect();
        let text = bytes.repeat(repeat);
        let encoded = codings.iter().fold(text.clone(), |bytes, coding| encode(*coding, &bytes));
        let pieces: Vec<_> = encoded.chunks(size).collect();
        prop_assert_eq!(decode(&codings, &pieces), Ok(text));
    }

    #[test]
    fn no_bytes_panic(data in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz(&data);
    }
}
