//! The finder on recorded builds (`recorded`) and on files that are made to be looked at (`crafted`).

mod crafted;
mod hostile;
mod recorded;
