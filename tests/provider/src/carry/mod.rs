//! What carries answers: HTTP/1.1, HTTP/2, WebSocket.

mod deflate;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod pipe;
pub(crate) mod ws;
