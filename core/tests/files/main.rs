//! Files over a storage in memory: real streams of octets through a session.

#[path = "../common/mod.rs"]
mod common;
mod datagrams;
mod get;
mod look;
mod names;
mod peer;
mod put;
mod requests;
