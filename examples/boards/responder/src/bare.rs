//! An echo on smoltcp alone, with nothing of unstick: what the responder is measured beside.

use smoltcp::iface::{SocketSet, SocketStorage};
use smoltcp::phy::Device;
use smoltcp::socket::tcp;
use static_cell::ConstStaticCell;

use crate::board::Board;
use crate::memory::BUFFER_LEN;
use crate::network::{ADDRESS, instant, interface};

/// The port of the echo service (RFC 862).
const PORT: u16 = 7;

/// As many sockets as there are connections that the responder serves at once.
const SOCKETS: usize = 4;

/// Sends back what arrives, octet for octet, on TCP port 7. The sockets have buffers as long as the responder's.
pub fn bare(mut board: impl Board, mut nic: impl Device) -> ! {
    static BUFFERS: ConstStaticCell<[[[u8; BUFFER_LEN]; 2]; SOCKETS]> =
        ConstStaticCell::new([[[0; BUFFER_LEN]; 2]; SOCKETS]);
    let mut storage = [SocketStorage::EMPTY; SOCKETS];
    let mut sockets = SocketSet::new(&mut storage[..]);
    let handles = BUFFERS.take().each_mut().map(|[receive, transmit]| {
        let [receive, transmit] =
            [receive, transmit].map(|buffer| tcp::SocketBuffer::new(&mut buffer[..]));
        let mut socket = tcp::Socket::new(receive, transmit);
        socket.set_nagle_enabled(false);
        sockets.add(socket)
    });
    let mut interface = interface(&board, &mut nic);
    board.print(format_args!("listening tcp {ADDRESS}:{PORT}"));
    board.print(format_args!("up"));
    loop {
        let now = instant(board.now());
        interface.poll(now, &mut nic, &mut sockets);
        let mut moved = false;
        for handle in handles {
            moved |= echo(sockets.get_mut(handle));
        }
        if !moved {
            let delay = interface.poll_delay(now, &sockets);
            board.sleep(delay.map(Into::into));
        }
    }
}

/// Moves what has arrived to where it is sent from; whether there was anything to do.
fn echo(socket: &mut tcp::Socket<'_>) -> bool {
    if !socket.is_open() {
        return socket.listen(PORT).is_ok();
    }
    if socket.may_send() && !socket.may_recv() && !socket.can_recv() && socket.send_queue() == 0 {
        socket.close();
        return true;
    }
    if !socket.can_recv() || !socket.can_send() {
        return false;
    }
    let room = socket.send_capacity() - socket.send_queue();
    let mut octets = [0; BUFFER_LEN];
    let moved = socket.recv_slice(&mut octets[..room]).unwrap_or(0);
    let _ = socket.send_slice(&octets[..moved]);
    moved > 0
}
