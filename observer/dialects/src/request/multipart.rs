//! Forms (`multipart/form-data`), as audio is uploaded: the short text fields of them, in constant memory.

use std::mem::take;

use memchr::memmem::find;

use capture::limits;

/// Bytes looked at together.
const PIECE: usize = 1024;

/// The boundary that a content type names.
#[must_use]
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let media = content_type.split(';').next()?.trim();
    if !media.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let parameters = content_type.split(';').skip(1);
    let value = parameters.map(str::trim).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    Some(value.trim_matches('"')).filter(|value| !value.is_empty())
}

/// A form being read. Holds a head or a boundary's length, whatever is uploaded.
pub(super) struct MultipartForm {
    /// What stands between two fields.
    mark: Vec<u8>,
    state: State,
    /// Bytes not yet told apart.
    held: Vec<u8>,
    /// The field's name, if it has a short value worth keeping.
    name: Option<String>,
    value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Inside a value, or before the first boundary.
    Value,
    /// Behind a boundary: another field, or the end.
    Behind,
    /// In a field's head.
    Head,
    Done,
    Bad,
}

impl MultipartForm {
    #[must_use]
    pub(super) fn new(boundary: &str) -> Self {
        let mark = [b"\r\n--", boundary.as_bytes()].concat();
        // The first boundary has no line end before it.
        Self { mark, state: State::Value, held: b"\r\n".to_vec(), name: None, value: Vec::new() }
    }

    /// The next bytes; `out` is told each short field that ended.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(&str, &str)) {
        if matches!(self.state, State::Done | State::Bad) {
            return;
        }
        // In small pieces, so that a large write does not become a large buffer.
        for piece in bytes.chunks(PIECE) {
            self.held.extend_from_slice(piece);
            while self.step(out) {}
        }
    }

    #[must_use]
    pub(super) fn complete(&self) -> bool {
        self.state == State::Done
    }

    #[must_use]
    pub(super) fn held(&self) -> usize {
        self.mark.capacity() + self.held.capacity() + self.value.capacity()
    }

    /// Takes one part off what is held; false if more bytes are needed.
    fn step(&mut self, out: &mut dyn FnMut(&str, &str)) -> bool {
        match self.state {
            State::Value => self.in_value(out),
            State::Behind => match self.held.get(..2) {
                None => return false,
                Some(b"--") => self.over(State::Done),
                Some(b"\r\n") => self.state = State::Head,
                Some(_) => self.over(State::Bad),
            },
            State::Head => return self.in_head(),
            State::Done | State::Bad => self.held.clear(),
        }
        !matches!(self.state, State::Done | State::Bad)
            && (self.state != State::Value || find(&self.held, &self.mark).is_some())
    }

    fn in_value(&mut self, out: &mut dyn FnMut(&str, &str)) {
        let found = find(&self.held, &self.mark);
        // What may be the beginning of a boundary stays.
        let plain = found.unwrap_or((self.held.len() + 1).saturating_sub(self.mark.len()));
        let room = if self.name.is_some() { (limits::NAME + 1).saturating_sub(self.value.len()) } else { 0 };
        self.value.extend(self.held.iter().take(plain.min(room)));
        if found.is_none() {
            self.held.drain(..plain);
            return;
        }
        self.held.drain(..plain + self.mark.len());
        let value = take(&mut self.value);
        if let (Some(name), Ok(value)) = (self.name.take(), std::str::from_utf8(&value))
            && value.len() <= limits::NAME
        {
            out(&name, value);
        }
        self.state = State::Behind;
    }

    fn in_head(&mut self) -> bool {
        let Some(end) = find(&self.held, b"\r\n\r\n") else {
            if self.held.len() > limits::FORM_HEAD {
                self.over(State::Bad);
            }
            return false;
        };
        let head = self.held.get(..end).and_then(|head| std::str::from_utf8(head).ok());
        self.name = head.and_then(field_name).filter(|name| name.len() <= limits::NAME).map(str::to_owned);
        self.held.drain(..end + 4);
        self.state = State::Value;
        true
    }

    fn over(&mut self, state: State) {
        *self = Self { state, ..Self::new("") };
        self.held = Vec::new();
    }
}

/// The field's name, unless it is a file.
fn field_name(head: &str) -> Option<&str> {
    let line = head.lines().find(|line| {
        line.split_once(':').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))
    })?;
    if line.contains("filename") {
        return None;
    }
    let (_, rest) = line.split_once("name=")?;
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split(';').next().map(str::trim),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &[u8], cut: usize) -> (Vec<(String, String)>, bool, usize) {
        let (mut form, mut fields, mut most) = (MultipartForm::new("x"), Vec::new(), 0);
        for piece in body.chunks(cut) {
            form.push(piece, &mut |name, value| fields.push((name.into(), value.into())));
            most = most.max(form.held());
        }
        (fields, form.complete(), most)
    }

    #[test]
    fn any_cut_gives_the_same() {
        let body = b"preamble\r\n--x\r\ncontent-disposition: form-data; name=a\r\n\r\n1\r\n--x\r\n\
            Content-Disposition: form-data; name=\"f\"; filename=\"b\"\r\n\r\n\r\n--\r\n--y\0\r\n--x\r\n\
            Content-Type: text/plain\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n\r\n--x--\r\nepilogue";
        for cut in 1..body.len() {
            let (got, complete, _) = fields(body, cut);
            assert_eq!(got, [("a".into(), "1".into()), ("b".into(), String::new())], "cut {cut}");
            assert!(complete);
        }
    }

    #[test]
    fn memory_does_not_grow_with_the_file() {
        let head = b"--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n".to_vec();
        let (got, complete, most) = fields(&[head, vec![b'-'; 4 << 20]].concat(), 4096);
        assert_eq!((got.len(), complete), (0, false));
        assert!(most < 16 * 1024, "{most}");
        let (_, complete, most) = fields(&[b"--x\r\n".to_vec(), vec![b'h'; 4 << 20]].concat(), 4096);
        assert!(!complete && most < 16 * 1024, "{most}");
    }

    #[test]
    fn boundaries_of_content_types() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"", Some("a b")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("application/json; boundary=abc", None),
        ] {
            assert_eq!(boundary(content_type), expected, "{content_type}");
        }
    }
}
