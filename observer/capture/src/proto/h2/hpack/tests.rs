use proptest::prelude::*;

use super::*;

type Pair = (Vec<u8>, Vec<u8>);

/// What a block says; an unknown field is `None`.
fn read(table: &mut HpackDecoder<Pair>, block: &[u8]) -> Result<Vec<Option<Pair>>, &'static str> {
    let mut fields = Vec::new();
    let make = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
    table.block(block, &make, &mut |field| fields.push(field.cloned()))?;
    Ok(fields)
}

fn text(fields: &[Option<Pair>]) -> Vec<String> {
    let one = |field: &Option<Pair>| match field {
        Some((name, value)) => format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)),
        None => "?".into(),
    };
    fields.iter().map(one).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

/// RFC 7541, appendix C: blocks in order, what each says, and the size of the table behind it.
fn rfc(limit: usize, blocks: &[(&str, &[&str], usize)]) {
    let mut table = HpackDecoder::default();
    table.resize(limit);
    for (block, expected, size) in blocks {
        assert_eq!(text(&read(&mut table, &hex(block)).unwrap()), *expected);
        assert_eq!(table.size, *size, "{block}");
    }
    assert!(!table.desynced());
}

#[test]
fn rfc_7541_c1_integers() {
    for (bytes, prefix, value) in [(&[0x0a][..], 5, 10), (&[0x1f, 0x9a, 0x0a], 5, 1337), (&[0x2a], 8 - 1, 42)] {
        assert_eq!(integer(&mut &*bytes, prefix), Ok(value));
    }
    for bad in [&[0x1f, 0xff, 0xff, 0xff, 0xff, 0x01][..], &[0x1f, 0x80], &[]] {
        assert!(integer(&mut &*bad, 5).is_err(), "{bad:x?}");
    }
}

#[test]
fn rfc_7541_c2_fields() {
    rfc(
        4096,
        &[("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", &["custom-key: custom-header"], 55)],
    );
    rfc(4096, &[("040c 2f73 616d 706c 652f 7061 7468", &[":path: /sample/path"], 0)]);
    rfc(4096, &[("1008 7061 7373 776f 7264 0673 6563 7265 74", &["password: secret"], 0)]);
    rfc(4096, &[("82", &[":method: GET"], 0)]);
}

const FIRST: &[&str] = &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
const SECOND: &[&str] =
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"];
const THIRD: &[&str] = &[
    ":method: GET",
    ":scheme: https",
    ":path: /index.html",
    ":authority: www.example.com",
    "custom-key: custom-value",
];

#[test]
fn rfc_7541_c3_requests() {
    rfc(
        4096,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", FIRST, 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", SECOND, 110),
            ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", THIRD, 164),
        ],
    );
}

#[test]
fn rfc_7541_c4_requests_in_huffman_code() {
    rfc(
        4096,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", FIRST, 57),
            ("8286 84be 5886 a8eb 1064 9cbf", SECOND, 110),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", THIRD, 164),
        ],
    );
}

const MONDAY: &str = "date: Mon, 21 Oct 2013 20:13:21 GMT";
const ANSWER: &[&str] = &[":status: 302", "cache-control: private", MONDAY, "location: https://www.example.com"];
const AGAIN: &[&str] = &[":status: 307", "cache-control: private", MONDAY, "location: https://www.example.com"];
const COOKIE: &[&str] = &[
    ":status: 200",
    "cache-control: private",
    "date: Mon, 21 Oct 2013 20:13:22 GMT",
    "location: https://www.example.com",
    "content-encoding: gzip",
    "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
];

#[test]
fn rfc_7541_c5_responses_with_eviction() {
    rfc(
        256,
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 \
                 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                ANSWER,
                222,
            ),
            ("4803 3330 37c1 c0bf", AGAIN, 222),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 \
                 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 \
                 3630 303b 2076 6572 7369 6f6e 3d31",
                COOKIE,
                215,
            ),
        ],
    );
}

#[test]
fn rfc_7541_c6_responses_in_huffman_code() {
    rfc(
        256,
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 \
                 63c7 8f0b 97c8 e9ae 82ae 43d3",
                ANSWER,
                222,
            ),
            ("4883 640e ffc1 c0bf", AGAIN, 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 \
                 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                COOKIE,
                215,
            ),
        ],
    );
}

#[test]
fn what_is_not_known_is_a_placeholder_and_later_entries_keep_their_index() {
    let mut table = HpackDecoder::default();
    table.lose();
    assert_eq!(text(&read(&mut table, b"\xc0\x82\x40\x01a\x011").unwrap()), ["?", ":method: GET", "a: 1"]);
    assert_eq!(text(&read(&mut table, b"\x7f\x01\x01x\xbe\xbf\xc0").unwrap()), ["?", "?", "a: 1", "?"]);
    assert!(table.desynced());
}

#[test]
fn a_lost_block_makes_unknown_never_wrong() {
    let mut table = HpackDecoder::default();
    read(&mut table, b"\x40\x01a\x011").unwrap();
    table.lose();
    read(&mut table, b"\x40\x01b\x012").unwrap();
    assert_eq!(text(&read(&mut table, b"\xbe\xbf").unwrap()), ["b: 2", "?"]);
    // A large field may or may not have gone in: nothing behind it is believed.
    let large = [&b"\x40\x01c\x7f\xe9\x07"[..], &[b'x'; 1128]].concat();
    read(&mut table, &large).unwrap();
    assert_eq!(text(&read(&mut table, b"\xbe\xbf\x40\x01d\x014\xbe\xbf").unwrap()), ["?", "?", "d: 4", "d: 4", "?"]);
}

#[test]
fn a_broken_block_is_an_error_and_reading_goes_on() {
    for bad in [&b"\x80"[..], b"\x40\x05a", b"\x41\xff\xff\xff\xff\xff", b"\x7f", b"\x04\x81\x00", b"\x3f"] {
        let mut table = HpackDecoder::default();
        read(&mut table, b"\x40\x01a\x011").unwrap();
        assert!(read(&mut table, bad).is_err(), "{bad:x?}");
        assert_eq!(
            text(&read(&mut table, b"\x82\xbe\x40\x01b\x012\xbe").unwrap()),
            [":method: GET", "?", "b: 2", "b: 2"]
        );
    }
}

#[test]
fn a_table_is_bounded_whatever_size_it_asks_for() {
    let mut table = HpackDecoder::default();
    read(&mut table, b"\x3f\xff\xff\xff\x7f").unwrap();
    for number in 0..3000 {
        let name = format!("{number:060}");
        read(&mut table, &[b"\x40\x3c", name.as_bytes(), b"\x01v"].concat()).unwrap();
        assert!(table.size <= HTTP2_TABLE);
    }
    read(&mut table, b"\x20").unwrap();
    assert_eq!(table.size, 0);
}

/// Headers as they occur: names repeat, values often.
fn headers() -> impl Strategy<Value = Vec<Pair>> {
    let name = prop_oneof!["(:path|:method|:status|content-type|x-a|x-b)", "[a-z]{1,12}"];
    let long = (300..400_usize).prop_map(|length| "x".repeat(length));
    let value = prop_oneof!["(200|POST|text/event-stream|v1|v2)", "[ -~é]{0,40}", long];
    prop::collection::vec((name, value).prop_map(|(n, v)| (n.into_bytes(), v.into_bytes())), 0..12)
}

proptest! {
    /// Another's encoder; sizes change in between.
    #[test]
    fn what_an_encoder_wrote_is_read(blocks in prop::collection::vec(headers(), 1..12)) {
        let (mut encoder, mut table) = (loona_hpack::Encoder::new(), HpackDecoder::default());
        for block in &blocks {
            let bytes = encoder.encode(block.iter().map(|(name, value)| (&name[..], &value[..])));
            let said: Vec<_> = read(&mut table, &bytes).unwrap().into_iter().flatten().collect();
            prop_assert_eq!(&said, block);
        }
    }

    /// Another's decoder, on any bytes: while it can follow, we say the same.
    #[test]
    fn any_block_says_what_another_decoder_says(blocks in prop::collection::vec(any::<Vec<u8>>(), 1..4)) {
        let (mut oracle, mut table) = (loona_hpack::Decoder::new(), HpackDecoder::default());
        for block in &blocks {
            let Ok(theirs) = oracle.decode(block) else { break };
            let ours: Vec<_> = read(&mut table, block).unwrap().into_iter().flatten().collect();
            prop_assert_eq!(&theirs, &ours);
        }
    }

    /// Blocks are lost, and the beginning: what is said is right, or not said.
    #[test]
    fn losses_never_make_a_field_wrong(blocks in prop::collection::vec((headers(), any::<bool>()), 1..20), late: bool) {
        let (mut encoder, mut table) = (loona_hpack::Encoder::new(), HpackDecoder::default());
        if late {
            table.lose();
        }
        for (block, lost) in &blocks {
            let bytes = encoder.encode(block.iter().map(|(name, value)| (&name[..], &value[..])));
            if *lost {
                table.lose();
                continue;
            }
            let said = read(&mut table, &bytes).unwrap();
            prop_assert_eq!(said.len(), block.len());
            for (said, meant) in said.iter().zip(block) {
                prop_assert!(said.as_ref().is_none_or(|said| said == meant), "{:?} {:?}", said, meant);
            }
        }
    }

    #[test]
    fn no_block_panics(data in prop::collection::vec(any::<u8>(), 0..3000)) {
        crate::proto::h2::fuzz_hpack(&data);
    }
}
