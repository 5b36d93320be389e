//! The headers of one message: which event it is.

/// What is wanted of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct EventStreamHeaders<'a> {
    /// `:event-type`, `:exception-type` or `:error-code`.
    pub(super) name: Option<&'a str>,
    /// `:message-type` says that it is no event.
    pub(super) exception: bool,
}

impl<'a> EventStreamHeaders<'a> {
    /// Reads all; `None` if they are broken.
    pub(super) fn read(mut bytes: &'a [u8]) -> Option<EventStreamHeaders<'a>> {
        let mut headers = EventStreamHeaders::default();
        while !bytes.is_empty() {
            let (name, value) = next(&mut bytes)?;
            let Some(value) = value.and_then(|value| std::str::from_utf8(value).ok()) else { continue };
            match name {
                b":message-type" => headers.exception = matches!(value, "exception" | "error"),
                b":event-type" | b":exception-type" | b":error-code" => headers.name = Some(value),
                _ => {}
            }
        }
        Some(headers)
    }
}

/// The next header; its value only if that is a string.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    const STRING: u8 = 7;
    let length = usize::from(*bytes.split_off_first()?);
    let name = bytes.split_off(..length)?;
    let kind = *bytes.split_off_first()?;
    let length = match kind {
        0 | 1 => 0, // true, false
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8, // a number, a time
        6 | STRING => usize::from(u16::from_be_bytes(*bytes.split_off(..2)?.first_chunk()?)),
        9 => 16, // a UUID
        _ => return None,
    };
    let value = bytes.split_off(..length)?;
    Some((name, (kind == STRING).then_some(value)))
}
