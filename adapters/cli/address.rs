//! ADDR on the command line.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// The port where none is named.
pub const DEFAULT_PORT: u16 = 8896;

/// A host, by name or number, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// Where `serve` listens if it is not told.
    pub fn local() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: DEFAULT_PORT,
        }
    }
}

impl FromStr for Address {
    type Err = String;

    /// Reads `host`, `host:port`, `[v6]`, `[v6]:port` or a bare `v6`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = if text.parse::<Ipv6Addr>().is_ok() {
            (text, None)
        } else if let Some((host, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
            let port = rest.strip_prefix(':');
            if !rest.is_empty() && port.is_none() {
                return Err("behind `]` only a port may follow".to_owned());
            }
            (host, port)
        } else {
            let (host, port) = text.split_once(':').unzip();
            (host.unwrap_or(text), port)
        };
        if host.is_empty() {
            return Err("the host is missing".to_owned());
        }
        let port = port.map_or(Ok(DEFAULT_PORT), str::parse);
        Ok(Self {
            host: host.to_owned(),
            port: port.map_err(|_| "a port is a number up to 65535".to_owned())?,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

impl ToSocketAddrs for Address {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (self.host.as_str(), self.port).to_socket_addrs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("localhost", "localhost:8896"),
            ("localhost:7", "localhost:7"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("::1", "[::1]:8896"),
            ("[::1]", "[::1]:8896"),
            ("[::1]:65535", "[::1]:65535"),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.to_string(), written);
            assert_eq!(written.parse(), Ok(address));
        }
        for wrong in [
            "",
            ":7",
            "host:",
            "host:65536",
            "host:7:7",
            "[::1]7",
            "[]",
            "host:x",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
