//! Error codes (RFC 9113, 7), by their names.

/// The error code of an RST_STREAM or GOAWAY, at the beginning of some bytes.
pub(super) fn code(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|code| u32::from_be_bytes(*code))
}

/// The name of an error code with which a server resets a stream; none where nothing went wrong.
pub(super) fn reset(code: u32) -> Option<&'static str> {
    Some(match code {
        0 => return None,
        1 => "reset_protocol_error",
        2 => "reset_internal_error",
        3 => "reset_flow_control",
        7 => "reset_refused",
        8 => "reset_cancel",
        11 => "reset_enhance_your_calm",
        _ => "reset_other",
    })
}

/// The same where it says goodbye.
pub(super) fn goaway(code: u32) -> Option<&'static str> {
    Some(match code {
        0 => return None,
        2 => "goaway_internal_error",
        11 => "goaway_enhance_your_calm",
        _ => "goaway_other",
    })
}
