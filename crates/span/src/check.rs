//! One line of a file at a time, for tools that work without a server.
