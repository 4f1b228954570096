//! `pyro run` as a command among commands: streams, words, statuses, documents.

mod arguments;
mod documents;
mod refusals;
mod result_lines;
mod streams;
mod terminals;
