//! The scriptable LLM provider: a TLS server driven by scenarios, logging every write.
