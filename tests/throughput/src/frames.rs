//! Bytes as servers send them.

/// One HTTP/1.1 chunk.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// One HTTP/2 frame.
pub(crate) fn h2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let [_, length @ ..] = length;
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A block of literals that enter no table.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap_or(0)][..], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// One WebSocket frame of text; masked with zeros if it is the client's.
pub(crate) fn websocket(text: &[u8], client: bool) -> Vec<u8> {
    let mask = if client { 0x80 } else { 0 };
    let mut bytes = match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(short @ ..=125), _) => vec![0x81, mask | short],
        (_, Ok(long)) => [&[0x81, mask | 126][..], &long.to_be_bytes()].concat(),
        _ => Vec::new(),
    };
    bytes.extend(if client { &[0; 4][..] } else { &[] });
    bytes.extend(text);
    bytes
}

/// One message of an AWS event stream.
pub(crate) fn eventstream(name: &str, payload: &[u8]) -> Vec<u8> {
    let header = |name: &str, value: &str| {
        let length = |text: &str| u8::try_from(text.len()).unwrap_or(0);
        [&[length(name)][..], name.as_bytes(), &[7, 0, length(value)], value.as_bytes()].concat()
    };
    let headers =
        [header(":event-type", name), header(":content-type", "application/json"), header(":message-type", "event")]
            .concat();
    let crc = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_be_bytes()
    };
    let count = |length: usize| u32::try_from(length).unwrap_or(0).to_be_bytes();
    let mut bytes = [count(headers.len() + payload.len() + 16), count(headers.len())].concat();
    bytes.extend(crc(&bytes));
    bytes.extend(headers);
    bytes.extend(payload);
    bytes.extend(crc(&bytes));
    bytes
}
