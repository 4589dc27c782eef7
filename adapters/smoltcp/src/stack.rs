//! The stack: smoltcp's interface, device and sockets, and the pass that drives them.

use heapless::Vec;
use smoltcp::iface::{
    Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet, SocketStorage,
};
use smoltcp::phy::{Device, PacketMeta, RxToken};
use smoltcp::socket::{AnySocket, tcp, udp};
use smoltcp::time::{Duration, Instant};

use crate::address::Ports;
use crate::backlog::{Arrived, Backlog, Pending};
use crate::clock::until;
use crate::frame::OneFrame;
use crate::tcp::TcpSlot;
use crate::udp::UdpSlot;
use crate::{Error, Settings};

/// The most frames that one poll takes from the device.
const INGRESS: usize = 32;
/// The most frames that one poll sends for each socket, before and after it has received.
const EGRESS: usize = 32;

/// A TCP/IP stack behind embedded-nal's traits, with at most `TCP` and `UDP` sockets.
///
/// Everything is the caller's: the device, the interface with its addresses, the storage of the sockets, the sockets with
/// their buffers. A TCP socket carries one connection at a time; those that carry none listen. See the
/// [crate's documentation](crate) for what each call promises.
///
/// ```
/// use embedded_nal::{TcpClientStack, TcpFullStack, nb};
/// use smoltcp::iface::{Config, Interface, SocketStorage};
/// use smoltcp::socket::tcp;
/// use smoltcp::time::Instant;
/// use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
/// use unstick_smoltcp::{Settings, Stack};
///
/// # use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
/// # struct Nic;
/// # struct Token;
/// # impl RxToken for Token { fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R { f(&[]) } }
/// # impl TxToken for Token { fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, n: usize, f: F) -> R { f(&mut [0; 1514][..n]) } }
/// # impl Device for Nic {
/// #     type RxToken<'a> = Token; type TxToken<'a> = Token;
/// #     fn receive(&mut self, _: Instant) -> Option<(Token, Token)> { None }
/// #     fn transmit(&mut self, _: Instant) -> Option<Token> { None }
/// #     fn capabilities(&self) -> DeviceCapabilities {
/// #         let mut caps = DeviceCapabilities::default();
/// #         caps.medium = Medium::Ethernet; caps.max_transmission_unit = 1514; caps
/// #     }
/// # }
/// # fn main() -> Result<(), unstick_smoltcp::Error> {
/// # let mut device = Nic;
/// let now = Instant::ZERO;
/// let config = Config::new(EthernetAddress([2, 0, 0, 0, 0, 1]).into());
/// let mut interface = Interface::new(config, &mut device, now);
/// interface.update_ip_addrs(|addrs| {
///     let _ = addrs.push(IpCidr::new(IpAddress::v4(192, 0, 2, 1), 24));
/// });
///
/// let mut buffers = [[[0; 1024]; 2]; 4];
/// let mut storage = [SocketStorage::EMPTY; 4];
/// let mut stack = Stack::<_, 4, 0>::new(interface, device, &mut storage, Settings::default());
/// for [receive, transmit] in &mut buffers {
///     let [receive, transmit] = [receive, transmit].map(|buffer| tcp::SocketBuffer::new(&mut buffer[..]));
///     stack.add_tcp(tcp::Socket::new(receive, transmit))?;
/// }
///
/// let mut listener = TcpClientStack::socket(&mut stack)?;
/// stack.bind(&mut listener, 8896)?;
/// stack.listen(&mut listener)?;
/// stack.poll(now);
/// assert_eq!(stack.accept(&mut listener).unwrap_err(), nb::Error::WouldBlock);
/// assert_eq!(stack.poll_delay(now), None, "nothing to do until a frame arrives");
/// # Ok(())
/// # }
/// ```
pub struct Stack<'a, D: Device, const TCP: usize, const UDP: usize> {
    pub(crate) interface: Interface,
    pub(crate) device: D,
    pub(crate) sockets: SocketSet<'a>,
    /// How many more sockets the storage holds.
    room: usize,
    pub(crate) settings: Settings,
    pub(crate) now: Instant,
    /// Whether the last poll may have left frames in the device.
    unread: bool,
    pub(crate) ports: Ports,
    pub(crate) tcp: Vec<TcpSlot, TCP>,
    /// The ports that are listened on: never more than there are sockets to listen.
    pub(crate) listeners: Vec<u16, TCP>,
    /// The ticket of the next connection that waits to be accepted.
    pub(crate) ticket: u64,
    pub(crate) backlog: Backlog<'a>,
    pub(crate) udp: Vec<UdpSlot, UDP>,
}

impl<'a, D: Device, const TCP: usize, const UDP: usize> Stack<'a, D, TCP, UDP> {
    /// A stack without sockets: [`add_tcp`](Self::add_tcp) and [`add_udp`](Self::add_udp) follow.
    ///
    /// `storage` has to hold `TCP` and `UDP` sockets and whatever else is [added](Self::add).
    pub fn new(
        interface: Interface,
        device: D,
        storage: &'a mut [SocketStorage<'a>],
        settings: Settings,
    ) -> Self {
        let room = storage.len();
        let sockets = SocketSet::new(storage);
        Self {
            room: room.saturating_sub(sockets.iter().count()),
            interface,
            device,
            sockets,
            ports: Ports::new(settings.ephemeral_port),
            settings,
            now: Instant::ZERO,
            unread: false,
            tcp: Vec::new(),
            listeners: Vec::new(),
            ticket: 0,
            backlog: Backlog::default(),
            udp: Vec::new(),
        }
    }

    /// Gives a TCP socket to the stack: one more connection at a time.
    ///
    /// Nagle's algorithm and smoltcp's timeout are switched off, and the delay of acknowledgements is set. What the socket
    /// was doing is aborted. Fails with [`Error::NoSocket`] beyond `TCP`, and when the storage is full.
    pub fn add_tcp(&mut self, mut socket: tcp::Socket<'a>) -> Result<(), Error> {
        if self.tcp.is_full() {
            return Err(Error::NoSocket);
        }
        socket.abort();
        socket.set_nagle_enabled(false);
        socket.set_timeout(None);
        socket.set_ack_delay(self.settings.ack_delay);
        let handle = self.add(socket)?;
        self.tcp
            .push(TcpSlot::new(handle))
            .map_err(|_| Error::NoSocket)?;
        self.arm();
        Ok(())
    }

    /// Gives memory for peers that ask for a connection when no socket listens, instead of what was given before: one entry
    /// for each. Who was held is dropped. Without entries there is no backlog.
    ///
    /// With a backlog no peer is reset for lack of a socket: see [there](crate#listening-and-the-backlog).
    ///
    /// ```
    /// # use unstick_smoltcp::{Pending, Stack};
    /// # fn backlog<'a, D: smoltcp::phy::Device>(stack: &mut Stack<'a, D, 6, 0>, entries: &'a mut [Pending; 16]) {
    /// // Sixteen peers more than there are sockets: `let mut entries = [Pending::EMPTY; 16]`, 2 KiB.
    /// stack.add_backlog(entries);
    /// # }
    /// ```
    pub fn add_backlog(&mut self, entries: &'a mut [Pending]) {
        self.backlog = Backlog::new(entries);
    }

    /// Gives a UDP socket to the stack. Fails with [`Error::NoSocket`] beyond `UDP`, and when the storage is full.
    pub fn add_udp(&mut self, mut socket: udp::Socket<'a>) -> Result<(), Error> {
        if self.udp.is_full() {
            return Err(Error::NoSocket);
        }
        socket.close();
        let handle = self.add(socket)?;
        self.udp
            .push(UdpSlot::new(handle))
            .map_err(|_| Error::NoSocket)
    }

    /// Adds a socket that is not of embedded-nal's kinds, such as a DHCP client: it runs with the others, and
    /// [`socket_mut`](Self::socket_mut) gets at it.
    pub fn add<T: AnySocket<'a>>(&mut self, socket: T) -> Result<SocketHandle, Error> {
        self.room = self.room.checked_sub(1).ok_or(Error::NoSocket)?;
        Ok(self.sockets.add(socket))
    }

    /// A socket that was [added](Self::add).
    ///
    /// # Panics
    /// As [`SocketSet::get_mut`]: when it is no socket of this stack, or of another type.
    pub fn socket_mut<T: AnySocket<'a>>(&mut self, handle: SocketHandle) -> &mut T {
        self.sockets.get_mut(handle)
    }

    /// The interface.
    pub const fn interface(&self) -> &Interface {
        &self.interface
    }

    /// The interface, to change its addresses and routes.
    pub const fn interface_mut(&mut self) -> &mut Interface {
        &mut self.interface
    }

    /// The device.
    pub const fn device(&self) -> &D {
        &self.device
    }

    /// The device, for what its driver needs besides frames.
    pub const fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// What each socket is doing.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage {
            backlog: self.backlog.len(),
            udp_open: self.udp.iter().filter(|slot| slot.open).count(),
            ..Usage::default()
        };
        for slot in &self.tcp {
            slot.count(self.sockets.get(slot.handle), &mut usage);
        }
        usage
    }

    /// One bounded pass: sends, receives at most 32 frames, sends what they call for, and keeps the
    /// [deadlines](Settings). `now` is any clock that does not go back.
    ///
    /// Nothing is received or sent, and no time passes for the sockets, but in here. Call it when the device has
    /// received a frame, after the sockets were used, and when [`poll_delay`](Self::poll_delay) is over.
    pub fn poll(&mut self, now: Instant) -> PollResult {
        self.now = now;
        self.interface.poll_maintenance(now);
        self.expire();
        let mut changed = self.send();
        self.unread = true;
        for _ in 0..INGRESS {
            match self.receive() {
                PollIngressSingleResult::None => {
                    self.unread = false;
                    break;
                }
                PollIngressSingleResult::PacketProcessed => {}
                PollIngressSingleResult::SocketStateChanged => {
                    changed = true;
                    // Before the next frame, or a burst of connections finds no socket that listens.
                    self.settle(false);
                    if self.is_starved() {
                        self.send();
                    }
                }
            }
        }
        if self.send() || changed {
            PollResult::SocketStateChanged
        } else {
            PollResult::None
        }
    }

    /// When to poll next even if no frame arrives and no socket is used; `None` is never.
    pub fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        // A poll may also be all that a socket wants before it listens for somebody.
        let waited_for = self.starved_until().filter(|_| self.backlog.len() > 0);
        if self.unread || self.served().is_some() {
            return Some(now);
        }
        let interface = self.interface.poll_at(now, &self.sockets);
        let tcp = self.tcp.iter().filter_map(|slot| {
            let socket = self.sockets.get(slot.handle);
            slot.deadline(socket, &self.settings, now)
        });
        let udp = self.udp.iter().filter_map(|slot| {
            slot.since
                .map(|since| crate::clock::after(since, self.settings.datagram))
        });
        let backlog = self.backlog.deadline(self.settings.backlog);
        let sockets = tcp.chain(udp).chain(backlog).chain(waited_for);
        interface.into_iter().chain(sockets).min()
    }

    /// How long a board may sleep if no frame arrives; `None` is for ever.
    pub fn poll_delay(&mut self, now: Instant) -> Option<Duration> {
        self.poll_at(now).map(|at| until(now, at))
    }

    /// Looks at one frame: one that is held and can be served, before any that comes.
    fn receive(&mut self) -> PollIngressSingleResult {
        if let Some(result) = self.serve() {
            return result;
        }
        let now = self.now;
        let Self {
            interface,
            device,
            sockets,
            listeners,
            backlog,
            ..
        } = self;
        let capabilities = device.capabilities();
        let Some((received, answer)) = device.receive(now) else {
            return PollIngressSingleResult::None;
        };
        let meta = received.meta();
        received.consume(|frame| {
            let arrived = Arrived {
                frame,
                capabilities: &capabilities,
                interface,
                sockets,
                listeners,
                now,
            };
            if backlog.look(&arrived) {
                return PollIngressSingleResult::PacketProcessed;
            }
            let answer = Some(answer);
            let mut device = OneFrame {
                frame,
                meta,
                answer,
                capabilities,
            };
            interface.poll_ingress_single(now, &mut device, sockets)
        })
    }

    /// Who is held and has a socket that listens for it now.
    fn served(&self) -> Option<usize> {
        self.backlog.first(|port| self.listening(port) > 0)
    }

    /// Gives the SYN of a peer that is held to a socket that listens by now, if there is one.
    fn serve(&mut self) -> Option<PollIngressSingleResult> {
        let index = self.served()?;
        let Self {
            interface,
            device,
            sockets,
            backlog,
            ..
        } = self;
        let capabilities = device.capabilities();
        // A device that cannot send now: later.
        let answer = Some(device.transmit(self.now)?);
        let mut device = OneFrame {
            frame: backlog.get(index)?.frame(),
            meta: PacketMeta::default(),
            answer,
            capabilities,
        };
        let result = interface.poll_ingress_single(self.now, &mut device, sockets);
        backlog.remove(index);
        Some(result)
    }

    /// Sends what is to be sent; whether anything was.
    fn send(&mut self) -> bool {
        let mut changed = false;
        for _ in 0..EGRESS {
            let Self {
                interface,
                device,
                sockets,
                ..
            } = self;
            match interface.poll_egress(self.now, device, sockets) {
                PollResult::None => break,
                PollResult::SocketStateChanged => changed = true,
            }
        }
        self.settle(true);
        changed
    }

    /// Ends what has taken too long.
    fn expire(&mut self) {
        let (now, settings) = (self.now, self.settings);
        self.backlog.expire(settings.backlog, now);
        for slot in &mut self.tcp {
            slot.expire(self.sockets.get_mut(slot.handle), &settings, now);
        }
        for slot in &mut self.udp {
            slot.expire(&mut self.sockets, &settings, now);
        }
    }

    /// Takes note of what has happened to the sockets. `sent` says that all that could be sent was.
    pub(crate) fn settle(&mut self, sent: bool) {
        let now = self.now;
        for slot in &mut self.tcp {
            let socket = self.sockets.get_mut(slot.handle);
            slot.settle(socket, now, &mut self.ticket, sent);
        }
        self.arm();
        self.sort();
        if sent {
            for slot in &mut self.udp {
                slot.settle(self.sockets.get(slot.handle), now);
            }
        }
    }
}

impl<D: Device, const TCP: usize, const UDP: usize> core::fmt::Debug for Stack<'_, D, TCP, UDP> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stack")
            .field("usage", &self.usage())
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

/// What the sockets of a stack are doing. The TCP sockets add up to those that were given to the stack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Doing nothing, and nobody listens.
    pub free: usize,
    /// Waiting for a peer to connect.
    pub listening: usize,
    /// In the middle of a peer's handshake.
    pub handshake: usize,
    /// Connected, and not accepted yet.
    pub waiting: usize,
    /// In the hands of the application.
    pub open: usize,
    /// Closed by the application, and delivering what is left.
    pub closing: usize,
    /// Closed, and kept for stray segments until another connection needs the socket.
    pub time_wait: usize,
    /// Peers in the [backlog](Stack::add_backlog), which wait for a socket.
    pub backlog: usize,
    /// UDP sockets in the hands of the application.
    pub udp_open: usize,
}
