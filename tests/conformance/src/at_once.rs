//! Clients that work at the same time.

use std::thread;

use anyhow::{Context as _, Result, anyhow};

/// Runs `client` for each item, all at once, and waits for all; fails as the first that failed.
pub fn at_once<T: Send>(
    items: impl IntoIterator<Item = T>,
    client: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let client = &client;
    thread::scope(|scope| {
        let clients: Vec<_> = items
            .into_iter()
            .map(|item| scope.spawn(move || client(item)))
            .collect();
        // All are waited for before anything is said.
        let ends: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        ends.into_iter().enumerate().try_for_each(|(number, end)| {
            let end = end.map_err(|_| anyhow!("it panicked"))?;
            end.with_context(|| format!("client {number}"))
        })
    })
}
