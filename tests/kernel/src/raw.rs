//! A client of plain HTTP that does nothing but what it is told: this test program itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// A connection.
pub struct Raw {
    socket: TcpStream,
}

impl Raw {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn connect(to: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(to)?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { socket })
    }

    /// Writes a streaming chat request with a prompt of so many bytes.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn write(&mut self, model: &str, prompt: usize) -> Result<()> {
        let prompt = json!([{"role": "user", "content": "x".repeat(prompt)}]);
        self.post("/v1/chat/completions", &json!({"model": model, "stream": true, "messages": prompt}))
    }

    /// Writes any request.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn post(&mut self, path: &str, body: &Value) -> Result<()> {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Ok(self.socket.write_all((head + &body).as_bytes())?)
    }

    /// Reads an answer to its end; its bytes.
    ///
    /// # Errors
    /// If it ends before.
    pub fn read(&mut self) -> Result<Vec<u8>> {
        let (mut answer, mut buffer) = (Vec::new(), vec![0; 65_536]);
        while !whole(&answer) {
            let got = self.socket.read(&mut buffer)?;
            ensure!(got > 0, "the answer ended after {} bytes", answer.len());
            answer.extend_from_slice(buffer.get(..got).unwrap_or_default());
        }
        Ok(answer)
    }

    /// Reads so many bytes of an answer, or a few more, and drops them.
    ///
    /// # Errors
    /// If it ends before.
    pub fn skip(&mut self, bytes: usize) -> Result<()> {
        let (mut skipped, mut buffer) = (0, vec![0; 65_536]);
        while skipped < bytes {
            let got = self.socket.read(&mut buffer)?;
            ensure!(got > 0, "the answer ended after {skipped} bytes");
            skipped += got;
        }
        Ok(())
    }

    /// Both.
    ///
    /// # Errors
    /// As those.
    pub fn ask(&mut self, model: &str) -> Result<Vec<u8>> {
        self.write(model, 10)?;
        self.read()
    }
}

/// The last chunk is there, or as many bytes as were promised.
fn whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let fields = String::from_utf8_lossy(answer.get(..head).unwrap_or_default()).to_ascii_lowercase();
    let length = fields.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    match length {
        Some(length) => answer.len() >= head + 4 + length,
        None => answer.ends_with(b"\r\n0\r\n\r\n"),
    }
}
