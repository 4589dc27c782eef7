//! The server that a command talks to, over TCP or UDP.

use std::io::{BufRead, Read};
use std::time::{Duration, Instant};

use unstick_core::{Reply, Request};
use unstick_std::{Client, Error, udp};

use crate::address::Address;
use crate::args::Server;
use crate::failure::Failure;

/// How long a request over UDP may take that says nothing of it: an answer that is lost is no answer.
const UDP_DEADLINE: Duration = Duration::from_secs(10);

/// A server, and the way to it.
pub struct Peer {
    address: Address,
    client: Transport,
}

enum Transport {
    Tcp(Box<Client>),
    Udp(udp::Client),
}

impl Peer {
    /// Connects.
    pub fn connect(server: &Server) -> Result<Self, Failure> {
        let address = &server.address;
        let client = if server.udp {
            let client = udp::Client::connect(address);
            Transport::Udp(client.map_err(|error| Failure::connect(address, &error))?)
        } else {
            let client = Client::connect(address);
            Transport::Tcp(Box::new(
                client.map_err(|error| Failure::peer(address, &error))?,
            ))
        };
        Ok(Self {
            address: address.clone(),
            client,
        })
    }

    /// Sends a request with a body that is held, gives up after `deadline`, and hands on the reply as it comes:
    /// each frame's header once with every piece of its body, or with none. Returns the last header.
    ///
    /// An error frame is a failure.
    pub fn request(
        &mut self,
        request: Request,
        body: &[u8],
        deadline: Option<Duration>,
        on_piece: impl FnMut(&Reply, &[u8]) -> Result<(), Failure>,
    ) -> Result<Reply, Failure> {
        match &mut self.client {
            Transport::Tcp(_) => self.stream(request, body, deadline, on_piece),
            Transport::Udp(client) => {
                let deadline = deadline.unwrap_or(UDP_DEADLINE);
                let result = by_datagrams(client, request, body, deadline, on_piece);
                result.map_err(|error| error.at(&self.address))
            }
        }
    }

    /// The same with a body that is read as the connection takes it. Over UDP, all of it goes in one datagram.
    pub fn stream(
        &mut self,
        request: Request,
        mut body: impl Read,
        deadline: Option<Duration>,
        on_piece: impl FnMut(&Reply, &[u8]) -> Result<(), Failure>,
    ) -> Result<Reply, Failure> {
        match &mut self.client {
            Transport::Tcp(client) => {
                client.set_deadline(deadline.and_then(|time| Instant::now().checked_add(time)));
                let result = by_stream(client, request, body, on_piece);
                result.map_err(|error| error.at(&self.address))
            }
            Transport::Udp(_) => {
                let mut held = Vec::new();
                let read = body.read_to_end(&mut held).map_err(Error::Body);
                read.map_err(|error| Failure::peer(&self.address, &error))?;
                self.request(request, &held, deadline, on_piece)
            }
        }
    }
}

/// What a request comes to nothing with: the peer's doing, or ours with its answer.
enum Trouble {
    Peer(Error),
    Datagrams(udp::Error),
    Ours(Failure),
}

impl Trouble {
    fn at(self, address: &Address) -> Failure {
        match self {
            Self::Peer(error) => Failure::peer(address, &error),
            Self::Datagrams(error) => Failure::datagrams(address, &error),
            Self::Ours(failure) => failure,
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Peer(error)
    }
}

impl From<udp::Error> for Trouble {
    fn from(error: udp::Error) -> Self {
        Self::Datagrams(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Ours(failure)
    }
}

fn by_stream(
    client: &mut Client,
    request: Request,
    body: impl Read,
    mut on_piece: impl FnMut(&Reply, &[u8]) -> Result<(), Failure>,
) -> Result<Reply, Trouble> {
    let mut replies = client.request(request, body)?;
    loop {
        let mut frame = replies.next_frame()?.ok_or(Error::Closed)?;
        frame.accepted()?;
        loop {
            let piece = frame.body.fill_buf().map_err(Error::from)?;
            on_piece(&frame.header, piece)?;
            let len = piece.len();
            frame.body.consume(len);
            if frame.body.left() == 0 {
                break;
            }
        }
        if !frame.header.more {
            return Ok(frame.header);
        }
    }
}

fn by_datagrams(
    client: &mut udp::Client,
    request: Request,
    body: &[u8],
    deadline: Duration,
    mut on_piece: impl FnMut(&Reply, &[u8]) -> Result<(), Failure>,
) -> Result<Reply, Trouble> {
    let mut last = None;
    client.request(request, body, deadline, |header, body| {
        if header.error.is_none()
            && let Err(failure) = on_piece(header, body)
        {
            // There is no way to give the request up.
            failure.exit();
        }
        if !header.more {
            last = Some(header.clone());
        }
    })?;
    let last = last.ok_or(Error::Closed)?;
    match Error::refusal(&last) {
        Some(error) => Err(error.into()),
        None => Ok(last),
    }
}
