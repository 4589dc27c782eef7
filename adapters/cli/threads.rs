//! `unstick serve --engine threads`: a thread for each connection.

use unstick_std::{tcp, udp};

use crate::failure::Failure;
use crate::listen::announce;
use crate::metrics::Stats;
use crate::serve::{Serving, Setting, side_by_side};
use crate::services::Services;

/// How many octets of a file are in a datagram: with its header it fits one packet of an Ethernet.
const DATAGRAM_FRAME_LEN: u64 = 1024;

/// Serves until the shutdown.
pub fn serve(setting: Setting, services: &Services) -> Result<(), Failure> {
    let Setting {
        places,
        limits,
        shutdown,
        page,
    } = setting;
    let tcp = places.tcp.map(|listen| {
        let bind = |addresses: &[_]| tcp::Server::bind(addresses, limits);
        listen.open("tcp", bind, |socket| {
            tcp::Server::from_listener(socket, limits)
        })
    });
    let udp = places.udp.map(|listen| {
        let bind = |addresses: &[_]| udp::Server::bind(addresses, limits);
        listen.open("udp", bind, |socket| {
            udp::Server::from_socket(socket, limits)
        })
    });
    let (tcp, udp) = (tcp.transpose()?, udp.transpose()?);
    announce(
        tcp.as_ref().map(tcp::Server::local_addr),
        udp.as_ref().map(udp::Server::local_addr),
        page.as_ref(),
    )?;
    let stats = || Stats {
        tcp: tcp.as_ref().map(tcp::Server::stats),
        udp: udp.as_ref().map(udp::Server::stats),
    };
    let shutdown = &shutdown;
    let mut servers: Vec<Serving<'_>> = Vec::new();
    if let Some(server) = &tcp {
        let service = |_| services.stream();
        servers.push(Box::new(move || server.serve_forever(shutdown, service)));
    }
    if let Some(server) = &udp {
        let service = |_| services.datagram(DATAGRAM_FRAME_LEN);
        servers.push(Box::new(move || server.serve_forever(shutdown, service)));
    }
    if let Some(page) = &page {
        servers.push(Box::new(move || page.serve(shutdown, stats)));
    }
    side_by_side(shutdown, servers)
}
