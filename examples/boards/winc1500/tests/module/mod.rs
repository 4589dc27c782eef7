//! A module made of software: its SPI registers, and as much of its sockets as a server meets.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use wincwifi::{CommError, Transfer};

/// Where the module has its events, one behind the other, and where it takes requests.
const EVENTS_AT: u32 = 0x4_0000;
const EVENT_LEN: u32 = 0x800;
const REQUEST_AT: u32 = 0x3_0000;

const BIND: u8 = 0x41;
const LISTEN: u8 = 0x42;
const ACCEPT: u8 = 0x43;
const SEND: u8 = 0x45;
const RECV: u8 = 0x46;
const SENDTO: u8 = 0x47;
const RECVFROM: u8 = 0x48;
const CLOSE: u8 = 0x49;

/// Offsets of the octets in a request to send them, from its start.
const TCP_DATA: usize = 88;
const UDP_DATA: usize = 76;

/// Statuses of a receive.
pub const ABORTED: i16 = -12;
pub const TIMEOUT: i16 = -13;

#[derive(Default)]
struct State {
    registers: HashMap<u32, u32>,
    memory: HashMap<u32, u8>,
    /// What the host reads next.
    answer: VecDeque<u8>,
    /// Where the octets go that the host sends next, and how many pieces of it have come.
    write: Option<(u32, usize)>,
    events: VecDeque<Vec<u8>>,
    /// Events that the host has taken.
    taken: u32,
    /// Receives that wait, with the octets that have come before them.
    asked: HashMap<u8, u8>,
    arrived: HashMap<u8, VecDeque<Vec<u8>>>,
    sent: Vec<(u8, Vec<u8>)>,
    closed: Vec<u8>,
}

#[derive(Clone, Default)]
pub struct Module(Rc<RefCell<State>>);

impl Module {
    /// A peer has connected: the module has accepted it as `socket`.
    pub fn connect(&self, socket: u8) {
        self.0
            .borrow_mut()
            .event(ACCEPT, &[2, 0, 0x30, 0x39, 10, 0, 0, 9, 0, socket, 0x50, 0]);
    }

    /// Octets have come for a socket.
    pub fn deliver(&self, socket: u8, octets: &[u8]) {
        let mut state = self.0.borrow_mut();
        state
            .arrived
            .entry(socket)
            .or_default()
            .push_back(octets.to_vec());
        state.hand_over(socket);
    }

    /// A receive comes to nothing, with this status.
    pub fn end(&self, socket: u8, status: i16) {
        let mut state = self.0.borrow_mut();
        let code = state.asked.remove(&socket).expect("there is a receive");
        state.received(code, socket, status, &[]);
    }

    pub fn is_asked(&self, socket: u8) -> bool {
        self.0.borrow().asked.contains_key(&socket)
    }

    /// What was sent since it was asked last.
    pub fn sent(&self) -> Vec<(u8, Vec<u8>)> {
        std::mem::take(&mut self.0.borrow_mut().sent)
    }

    pub fn closed(&self) -> Vec<u8> {
        self.0.borrow().closed.clone()
    }
}

impl State {
    fn event(&mut self, code: u8, payload: &[u8]) {
        let mut event = vec![2, code, (payload.len() + 8) as u8, 0, 0, 0, 0, 0];
        event.extend(payload);
        self.events.push_back(event);
    }

    fn received(&mut self, code: u8, socket: u8, status: i16, octets: &[u8]) {
        let [low, high] = status.to_le_bytes();
        let head = [
            2, 0, 0x30, 0x39, 10, 0, 0, 9, low, high, 24, 0, socket, 0, 0, 0,
        ];
        // The offset counts from the event's start, and wincwifi reads eight octets behind it.
        let payload = [&head[..], &[0; 8], octets].concat();
        self.event(code, &payload);
    }

    fn hand_over(&mut self, socket: u8) {
        let waiting = self.arrived.entry(socket).or_default();
        if let (Some(code), Some(octets)) = (self.asked.get(&socket).copied(), waiting.pop_front())
        {
            self.asked.remove(&socket);
            self.received(code, socket, octets.len() as i16, &octets);
        }
    }

    fn request(&mut self) {
        let octet = |at: usize| {
            self.memory
                .get(&(REQUEST_AT + at as u32))
                .copied()
                .unwrap_or(0)
        };
        let code = octet(1);
        let octets = |at: usize, len: usize| (at..at + len).map(octet).collect::<Vec<_>>();
        let len = usize::from(u16::from_le_bytes([octet(10), octet(11)]));
        let first = octet(8);
        match code {
            // The socket is behind the address.
            BIND => self.event(code, &[octet(16), 0, 0, 0]),
            LISTEN => self.event(code, &[first, 0, 0, 0]),
            RECV | RECVFROM => {
                let socket = octet(12);
                assert_eq!(
                    self.asked.insert(socket, code),
                    None,
                    "one receive at a time"
                );
                self.hand_over(socket);
            }
            SEND => {
                let sent = octets(TCP_DATA, len);
                let [low, high] = (len as u16).to_le_bytes();
                self.sent.push((first, sent));
                self.event(SEND, &[first, 0, low, high, 0, 0, 0, 0]);
            }
            SENDTO => {
                let sent = octets(UDP_DATA, len);
                self.sent.push((first, sent));
            }
            CLOSE => {
                self.asked.remove(&first);
                self.closed.push(first);
            }
            _ => {}
        }
    }

    fn read(&mut self, register: u32) -> u32 {
        match register {
            0x1070 => u32::from(!self.events.is_empty()),
            0x1084 => EVENTS_AT + self.taken * EVENT_LEN,
            0x15_0400 => REQUEST_AT,
            _ => self.registers.get(&register).copied().unwrap_or(0),
        }
    }

    fn write_register(&mut self, register: u32, value: u32) {
        match register {
            // The host takes the event; the others only say that it has read it.
            0x1070 if value & 2 == 0 => {
                let event = self.events.pop_front().expect("there is an event");
                self.taken += 1;
                let at = EVENTS_AT + self.taken * EVENT_LEN;
                self.memory.extend((at..).zip(event));
            }
            0x1070 | 0x1078 => {}
            0x106c => self.request(),
            _ => drop(self.registers.insert(register, value)),
        }
    }
}

impl Transfer for Module {
    fn send(&mut self, octets: &[u8]) -> Result<(), CommError> {
        let state = &mut *self.0.borrow_mut();
        if let Some((at, piece)) = state.write {
            state.write = Some((at, piece + 1));
            match piece {
                1 => {
                    state.memory.extend((at..).zip(octets.iter().copied()));
                }
                2 => {
                    state.write = None;
                    state.answer.extend([0xc3, 0]);
                }
                _ => {}
            }
            return Ok(());
        }
        assert!(state.answer.is_empty(), "the host has read every answer");
        let address = u32::from_be_bytes([0, octets[1], octets[2], octets[3]]);
        state.answer.extend([octets[0], 0]);
        match octets[0] {
            0xca => {
                let value = state.read(address);
                state.answer.push_back(0xf3);
                state.answer.extend(value.to_le_bytes());
                state.answer.extend([0; 2]);
            }
            0xc9 => {
                let value = u32::from_be_bytes([octets[4], octets[5], octets[6], octets[7]]);
                state.write_register(address, value);
            }
            0xc8 => {
                let len = u32::from_be_bytes([0, octets[4], octets[5], octets[6]]);
                state.answer.push_back(0xf3);
                for at in address..address + len {
                    state
                        .answer
                        .push_back(state.memory.get(&at).copied().unwrap_or(0));
                }
                state.answer.extend([0; 2]);
            }
            0xc7 => state.write = Some((address, 0)),
            command => panic!("no such command: {command:#x}"),
        }
        Ok(())
    }

    fn recv(&mut self, octets: &mut [u8]) -> Result<(), CommError> {
        let state = &mut *self.0.borrow_mut();
        for octet in octets {
            *octet = state.answer.pop_front().expect("there is an answer");
        }
        Ok(())
    }
}
