//! What carries answers: HTTP/1.1, HTTP/2, WebSocket.

mod deflate;
pub mod h1;
pub mod h2;
pub mod pipe;
pub mod ws;
