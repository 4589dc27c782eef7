//! Two stacks on a wire, with a clock that the test turns.
#![allow(dead_code)]

pub mod faults;
pub mod raw;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use embedded_nal::{TcpClientStack, TcpFullStack, UdpClientStack, nb};
use smoltcp::iface::{Config, Interface, PollResult, SocketStorage};
use smoltcp::phy::{Device, DeviceCapabilities, FaultInjector, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Address, Ipv6Address};
use unstick_smoltcp::{Error, Settings, Stack, TcpSocket, UdpSocket, Usage};

pub const PORT: u16 = 8896;
pub const SERVER: Ipv4Address = Ipv4Address::new(192, 0, 2, 1);
pub const CLIENT: Ipv4Address = Ipv4Address::new(192, 0, 2, 2);

pub type Nic = FaultInjector<Port>;
pub type Server = Stack<'static, Nic, 4, 2>;
/// How many sockets a client has, if nothing else is said.
pub const CLIENTS: usize = 24;

/// A small generator, so that every run is the same.
pub struct Random(pub u32);

impl Random {
    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    pub fn percent(&mut self, chance: u32) -> bool {
        self.next() % 100 < chance
    }
}

pub fn octets(len: usize, seed: u32) -> Vec<u8> {
    let mut random = Random(seed | 1);
    (0..len).map(|_| random.next() as u8).collect()
}

pub type Queue = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// One end of the wire.
pub struct Port {
    pub inbound: Queue,
    pub outbound: Queue,
    /// Chances in percent.
    pub reorder: Rc<Cell<u32>>,
    pub duplicate: Rc<Cell<u32>>,
    pub frames: Rc<Cell<usize>>,
    random: Random,
    pub medium: Medium,
}

impl Port {
    /// How many frames may be on their way before it cannot send.
    pub const ROOM: usize = 64;

    pub fn new(inbound: &Queue, outbound: &Queue, seed: u32) -> Self {
        Self {
            inbound: inbound.clone(),
            outbound: outbound.clone(),
            reorder: Rc::default(),
            duplicate: Rc::default(),
            frames: Rc::default(),
            random: Random(seed | 1),
            medium: Medium::Ethernet,
        }
    }
}

pub struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub struct Sent<'a> {
    outbound: &'a Queue,
    frames: &'a Cell<usize>,
}

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.frames.set(self.frames.get() + 1);
        self.outbound.borrow_mut().push_back(frame);
        result
    }
}

impl Device for Port {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sent<'_>)> {
        let mut inbound = self.inbound.borrow_mut();
        if inbound.len() > 1 && self.random.percent(self.reorder.get()) {
            let late = inbound.pop_front()?;
            inbound.push_back(late);
        }
        let frame = inbound.pop_front()?;
        if self.random.percent(self.duplicate.get()) {
            inbound.push_back(frame.clone());
        }
        drop(inbound);
        let sent = Sent {
            outbound: &self.outbound,
            frames: &self.frames,
        };
        Some((Received(frame), sent))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sent<'_>> {
        (self.outbound.borrow().len() < Self::ROOM).then_some(Sent {
            outbound: &self.outbound,
            frames: &self.frames,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = self.medium;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// The clock as it is counted elsewhere.
pub fn clock(now: Instant) -> std::time::Duration {
    std::time::Duration::from_micros(now.total_micros() as u64)
}

pub fn leak<T: Default>(len: usize) -> &'static mut [T] {
    leak_with(len, T::default)
}

pub fn leak_with<T>(len: usize, one: impl Fn() -> T) -> &'static mut [T] {
    Box::leak((0..len).map(|_| one()).collect())
}

pub fn tcp_socket(buffer: usize) -> tcp::Socket<'static> {
    let side = || tcp::SocketBuffer::new(leak::<u8>(buffer));
    tcp::Socket::new(side(), side())
}

pub fn udp_socket(datagrams: usize, buffer: usize) -> udp::Socket<'static> {
    let side = || {
        let metadata = vec![udp::PacketMetadata::EMPTY; datagrams].into_boxed_slice();
        udp::PacketBuffer::new(Box::leak(metadata) as &mut [_], leak::<u8>(buffer))
    };
    udp::Socket::new(side(), side())
}

pub fn interface(device: &mut impl Device, address: Ipv4Address, seed: u64) -> Interface {
    let hardware = match device.capabilities().medium {
        Medium::Ethernet => mac(address).into(),
        _ => HardwareAddress::Ip,
    };
    let mut config = Config::new(hardware);
    config.random_seed = seed;
    let mut interface = Interface::new(config, device, Instant::ZERO);
    interface.update_ip_addrs(|addrs| {
        addrs.push(IpCidr::new(address.into(), 24)).unwrap();
        addrs.push(IpCidr::new(v6(address).into(), 64)).unwrap();
    });
    interface
}

/// The other address of an interface.
pub fn v6(address: Ipv4Address) -> Ipv6Address {
    Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, address.octets()[3].into())
}

pub fn mac(address: Ipv4Address) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 0, address.octets()[3]])
}

pub fn stack<const TCP: usize, const UDP: usize>(
    mut device: Nic,
    address: Ipv4Address,
    buffer: usize,
    settings: Settings,
) -> Stack<'static, Nic, TCP, UDP> {
    let interface = interface(&mut device, address, 7 + u64::from(address.octets()[3]));
    let storage = leak_with(TCP + UDP, || SocketStorage::EMPTY);
    let mut stack = Stack::new(interface, device, storage, settings);
    for _ in 0..TCP {
        stack.add_tcp(tcp_socket(buffer)).unwrap();
    }
    for _ in 0..UDP {
        stack.add_udp(udp_socket(4, 4096)).unwrap();
    }
    stack
}

/// A server with few TCP sockets and a client with more, 2 of UDP each.
pub struct Pair<const TCP: usize = CLIENTS, const SOCKETS: usize = 4> {
    pub server: Stack<'static, Nic, SOCKETS, 2>,
    pub client: Stack<'static, Nic, TCP, 2>,
    pub now: Instant,
    pub to_server: Queue,
    pub to_client: Queue,
    /// How many frames both have sent, and the chances that one is late and that one comes twice, in percent.
    pub frames: Rc<Cell<usize>>,
    pub reorder: Rc<Cell<u32>>,
    pub duplicate: Rc<Cell<u32>>,
}

impl Pair {
    pub fn new() -> Self {
        Self::with(Settings::default(), 2048, 1)
    }

    pub fn with(settings: Settings, buffer: usize, seed: u32) -> Self {
        Self::with_clients(settings, buffer, seed)
    }
}

impl<const TCP: usize, const SOCKETS: usize> Pair<TCP, SOCKETS> {
    pub fn with_clients(settings: Settings, buffer: usize, seed: u32) -> Self {
        Self::over(Medium::Ethernet, settings, buffer, seed)
    }

    pub fn over(medium: Medium, settings: Settings, buffer: usize, seed: u32) -> Self {
        let (to_server, to_client) = (Queue::default(), Queue::default());
        let (frames, reorder, duplicate) = <(Rc<_>, Rc<_>, Rc<_>)>::default();
        let nic = |inbound, outbound, seed| {
            let mut port = Port::new(inbound, outbound, seed);
            port.frames = Rc::clone(&frames);
            port.reorder = Rc::clone(&reorder);
            port.duplicate = Rc::clone(&duplicate);
            port.medium = medium;
            FaultInjector::new(port, seed | 1)
        };
        Self {
            server: stack(
                nic(&to_server, &to_client, seed * 2 + 1),
                SERVER,
                buffer,
                settings,
            ),
            client: stack(
                nic(&to_client, &to_server, seed * 3 + 2),
                CLIENT,
                buffer,
                settings,
            ),
            now: Instant::ZERO,
            to_server,
            to_client,
            frames,
            reorder,
            duplicate,
        }
    }

    /// Polls both until nothing moves.
    pub fn poll(&mut self) {
        for _ in 0..1000 {
            let server = self.server.poll(self.now);
            let client = self.client.poll(self.now);
            let quiet = self.to_server.borrow().is_empty() && self.to_client.borrow().is_empty();
            if quiet && (server, client) == (PollResult::None, PollResult::None) {
                return;
            }
        }
        panic!("the stacks never come to rest");
    }

    /// Polls both, and turns the clock on to when one of them has something to do, but 5 ms at most: then an application
    /// looks at its sockets again.
    pub fn step(&mut self) {
        self.advance(Duration::from_millis(5));
    }

    fn advance(&mut self, most: Duration) {
        self.poll();
        let server = self.server.poll_at(self.now);
        let client = self.client.poll_at(self.now);
        let soon = self.now + Duration::from_millis(1);
        let late = self.now + most;
        let next = server.into_iter().chain(client).min().unwrap_or(late);
        self.now = next.clamp(soon, late);
    }

    /// Steps until `done`, which must be within so many seconds.
    pub fn until(&mut self, seconds: u64, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + Duration::from_secs(seconds);
        while !done(self) {
            assert!(
                self.now < end,
                "not within {seconds} s: {:?}",
                self.server.usage()
            );
            self.step();
        }
    }

    pub fn wait(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.advance(Duration::from_secs(1));
            self.now = self.now.min(end);
        }
        self.poll();
    }

    pub fn listen(&mut self, port: u16) -> TcpSocket {
        listen(&mut self.server, port)
    }

    /// Connects, as far as can be without time passing, or says why not.
    pub fn connect(&mut self) -> Result<TcpSocket, Error> {
        let mut socket = TcpClientStack::socket(&mut self.client)?;
        let remote = server_at(PORT);
        loop {
            match TcpClientStack::connect(&mut self.client, &mut socket, remote) {
                Ok(()) => return Ok(socket),
                Err(nb::Error::WouldBlock) => self.step(),
                Err(nb::Error::Other(error)) => return Err(error),
            }
        }
    }

    pub fn connected(&mut self, listener: &mut TcpSocket) -> (TcpSocket, TcpSocket) {
        let client = self.connect().unwrap();
        let mut server = None;
        self.until(60, |pair| {
            server = pair.server.accept(listener).ok();
            server.is_some()
        });
        let (server, peer) = server.unwrap();
        assert_eq!(peer.ip(), std::net::IpAddr::V4(CLIENT));
        assert_eq!(Some(peer.port()), self.client.tcp_port(&client));
        (client, server)
    }

    /// Every socket is where it was at first.
    pub fn assert_at_rest(&mut self, listening: usize) {
        self.wait(60_000);
        let usage = self.server.usage();
        let free = SOCKETS - listening;
        assert_eq!(
            usage,
            Usage {
                listening,
                free,
                ..Usage::default()
            }
        );
        let usage = self.client.usage();
        assert_eq!(
            usage,
            Usage {
                free: TCP,
                ..Usage::default()
            }
        );
        assert_eq!(
            self.server.poll_delay(self.now),
            None,
            "the server has nothing to do"
        );
        assert_eq!(
            self.client.poll_delay(self.now),
            None,
            "the client has nothing to do"
        );
    }
}

pub fn listen<const TCP: usize, const UDP: usize>(
    stack: &mut Stack<'static, Nic, TCP, UDP>,
    port: u16,
) -> TcpSocket {
    let mut socket = TcpClientStack::socket(stack).unwrap();
    TcpFullStack::bind(stack, &mut socket, port).unwrap();
    stack.listen(&mut socket).unwrap();
    socket
}

/// As many sockets as the client is to connect with, none of them connected yet.
pub fn connecting<T>(client: &mut T, count: usize) -> Vec<TcpSocket>
where
    T: TcpClientStack<TcpSocket = TcpSocket, Error = Error>,
{
    let mut sockets: Vec<_> = (0..count)
        .map(|_| TcpClientStack::socket(client).unwrap())
        .collect();
    for socket in &mut sockets {
        let outcome = TcpClientStack::connect(client, socket, server_at(PORT));
        assert_eq!(outcome, Err(nb::Error::WouldBlock));
    }
    sockets
}

/// Which of them are connected, and which were refused.
pub fn outcomes<T>(client: &mut T, sockets: Vec<TcpSocket>) -> (Vec<TcpSocket>, usize)
where
    T: TcpClientStack<TcpSocket = TcpSocket, Error = Error>,
{
    let mut refused = 0;
    let mut connected = vec![];
    for mut socket in sockets {
        match TcpClientStack::connect(client, &mut socket, server_at(PORT)) {
            Ok(()) => connected.push(socket),
            Err(nb::Error::Other(Error::Refused)) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    (connected, refused)
}

pub fn server_at(port: u16) -> SocketAddr {
    SocketAddr::new(SERVER.into(), port)
}

pub fn client_at(port: u16) -> SocketAddr {
    SocketAddr::new(CLIENT.into(), port)
}

pub fn send<T: TcpClientStack<Error = Error>>(
    stack: &mut T,
    socket: &mut T::TcpSocket,
    octets: &[u8],
) -> nb::Result<usize, Error> {
    TcpClientStack::send(stack, socket, octets)
}

pub fn receive<T: TcpClientStack<Error = Error>>(
    stack: &mut T,
    socket: &mut T::TcpSocket,
    room: usize,
) -> nb::Result<Vec<u8>, Error> {
    let mut buffer = vec![0; room];
    let len = TcpClientStack::receive(stack, socket, &mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

pub fn close<T: TcpClientStack<Error = Error>>(stack: &mut T, socket: T::TcpSocket) {
    TcpClientStack::close(stack, socket).unwrap();
}

pub fn receive_datagram<T: UdpClientStack<Error = Error, UdpSocket = UdpSocket>>(
    stack: &mut T,
    socket: &mut UdpSocket,
    room: usize,
) -> nb::Result<(Vec<u8>, SocketAddr), Error> {
    let mut buffer = vec![0; room];
    let (len, from) = UdpClientStack::receive(stack, socket, &mut buffer)?;
    buffer.truncate(len);
    Ok((buffer, from))
}
