//! A client of plain HTTP that does nothing but what it is told: this test program itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};

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
        let prompt = "x".repeat(prompt);
        let body = format!(
            r#"{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "{prompt}"}}]}}"#
        );
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Ok(self.socket.write_all((head + &body).as_bytes())?)
    }

    /// Reads a chunked answer to its end; its bytes.
    ///
    /// # Errors
    /// If it ends before.
    pub fn read(&mut self) -> Result<Vec<u8>> {
        let (mut answer, mut buffer) = (Vec::new(), vec![0; 65_536]);
        while !answer.ends_with(b"\r\n0\r\n\r\n") {
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
