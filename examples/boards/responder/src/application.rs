//! The servers, whatever stack they are on.

use core::time::Duration;

use embedded_nal::{TcpFullStack, UdpFullStack};
use unstick_core::Timeouts;
use unstick_nal::{Entry, Limits, Slot, TcpPolicy, TcpServer, UdpPolicy, UdpServer, UdpSlot};

use crate::memory::{DATAGRAM_LEN, FILES_FRAME_LEN, HEADER_LEN, INPUT_LEN, OUTPUT_LEN};
use crate::service::Services;
use crate::shared::{Load, Shared};

/// The port, TCP's and UDP's.
pub const PORT: u16 = 8896;

/// How long a peer may take: slots are few, and one that is silent has one.
pub const TIMEOUTS: Timeouts = Timeouts {
    header: Duration::from_secs(5),
    idle: Duration::from_secs(20),
};
/// How long what is in flight may go on once the board is to start anew.
const GRACE: Duration = Duration::from_secs(1);

/// The place of one peer on a stack with the TCP sockets `K`.
pub type Place<K> = Slot<K, Services, HEADER_LEN, INPUT_LEN, OUTPUT_LEN>;

/// A reply over UDP that is remembered.
pub type Remembered = Entry<DATAGRAM_LEN>;

/// The place of the request that is carried out over UDP; with one octet more than a datagram may have, so that a longer one
/// is noticed.
pub type UdpPlace = UdpSlot<Services, HEADER_LEN, { DATAGRAM_LEN + 1 }, DATAGRAM_LEN>;

type Tcp<'m, T, P> = TcpServer<'m, T, Services, P, HEADER_LEN, INPUT_LEN, OUTPUT_LEN>;
type Udp<'m, T, P> = UdpServer<'m, T, Services, P, HEADER_LEN, { DATAGRAM_LEN + 1 }, DATAGRAM_LEN>;

/// The responder's servers on the stack `T` with the policy `P`.
pub struct Application<'m, T: TcpFullStack + UdpFullStack, P> {
    tcp: Tcp<'m, T, P>,
    udp: Udp<'m, T, P>,
    slots: usize,
    socket_len: usize,
    shared: &'static Shared,
    /// When the board starts anew at the latest.
    reboot: Option<Duration>,
}

/// Why an [`Application`] could not begin.
#[derive(Debug)]
pub enum BindError<T, U> {
    /// The stack does not let it listen.
    Tcp(T),
    /// The stack does not let it receive.
    Udp(U),
}

impl<'m, T, P> Application<'m, T, P>
where
    T: TcpFullStack + UdpFullStack,
    P: TcpPolicy<T> + UdpPolicy<T> + Copy,
{
    /// Listens, and receives datagrams, on the port [`PORT`]. The stack has `socket_len` octets for each peer, as `stats` has it.
    ///
    /// # Errors
    /// What the stack says to that.
    pub fn bind(
        stack: &mut T,
        socket_len: usize,
        policy: P,
        slots: &'m mut [Place<T::TcpSocket>],
        place: &'m mut UdpPlace,
        replies: &'m mut [Remembered],
        shared: &'static Shared,
    ) -> Result<
        Self,
        BindError<
            <T as embedded_nal::TcpClientStack>::Error,
            <T as embedded_nal::UdpClientStack>::Error,
        >,
    > {
        let limits = Limits {
            timeouts: TIMEOUTS,
            ..Limits::default()
        };
        let count = slots.len();
        Ok(Self {
            tcp: TcpServer::bind(stack, PORT, policy, limits, slots).map_err(BindError::Tcp)?,
            udp: UdpServer::bind(stack, PORT, policy, limits, place, replies)
                .map_err(BindError::Udp)?,
            slots: count,
            socket_len,
            shared,
            reboot: None,
        })
    }

    /// One bounded pass of each server.
    ///
    /// # Errors
    /// [`nb::Error::WouldBlock`] if there was nothing to do, and nothing else: what fails is one connection or datagram.
    pub fn poll(
        &mut self,
        stack: &mut T,
        now: Duration,
    ) -> nb::Result<(), core::convert::Infallible> {
        let shared = self.shared;
        if shared.is_rebooting() && self.reboot.is_none() {
            let at = now.saturating_add(GRACE);
            self.tcp.stop(at);
            self.udp.stop(at);
            self.reboot = Some(at);
        }
        // A stack that fails to accept is tried again after a while, by the server.
        let idle = matches!(
            self.tcp
                .poll(stack, now, |_| Services::new(shared, u64::MAX)),
            Err(nb::Error::WouldBlock)
        ) & self
            .udp
            .poll(stack, now, |_| Services::new(shared, FILES_FRAME_LEN))
            .is_err();
        match idle {
            true => Err(nb::Error::WouldBlock),
            false => Ok(()),
        }
    }

    /// Has [`Shared`] know what the servers do.
    pub fn report(&self, now: Duration) {
        self.shared.report(Load {
            uptime: now,
            slots: self.slots,
            taken: self.tcp.taken(),
            slot_len: size_of::<Place<T::TcpSocket>>().saturating_add(self.socket_len),
            tcp: self.tcp.stats(),
            udp: self.udp.stats(),
        });
    }

    /// When there is something to do unless the network has something before.
    pub fn next_deadline(&self, now: Duration) -> Option<Duration> {
        let tcp = self.tcp.next_deadline(now);
        let all = [tcp, self.udp.next_deadline(), self.reboot];
        all.into_iter().flatten().min()
    }

    /// Whether everybody has had their answer, or has had the time for it, and the board is to start anew.
    pub fn is_to_reboot(&self, now: Duration) -> bool {
        let idle = self.tcp.is_idle() && self.udp.is_idle();
        self.reboot.is_some_and(|at| idle || at <= now)
    }
}
