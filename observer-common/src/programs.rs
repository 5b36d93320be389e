//! Program and map names: both sides and the table test use these.
