//! Joining the access point, whose name and password are given when the program is built.

use core::hint::black_box;
use core::net::Ipv4Addr;
use core::time::Duration;

use winc1500::Stack;
use wincwifi::{Credentials, Ssid, StackError, Transfer, WifiChannel};

use crate::board::{Board, pause};

/// The access point's name.
const SSID: Option<&str> = option_env!("UNSTICK_SSID");
/// Its password; an access point without one is open.
const PASSWORD: Option<&str> = option_env!("UNSTICK_PASSWORD");

const _: () = {
    if let Some(ssid) = SSID {
        assert!(
            !ssid.is_empty() && ssid.len() <= 32,
            "UNSTICK_SSID has 1 to 32 octets"
        );
    }
    if let Some(password) = PASSWORD {
        assert!(
            password.len() >= 8 && password.len() <= 63,
            "UNSTICK_PASSWORD has 8 to 63 octets"
        );
    }
};

/// Between two looks whether the module has started: wincwifi gives it ten at each stage.
const START_STEP: Duration = Duration::from_millis(50);
/// Looks for the address that the access point gives, and the time between them.
const ADDRESS_TRIES: u32 = 2000;
const ADDRESS_STEP: Duration = Duration::from_millis(10);

/// The access point.
pub struct Network {
    ssid: Ssid,
    credentials: Credentials,
}

impl Network {
    /// The one that the program was built for, if it was built for one.
    pub fn configured() -> Option<Self> {
        // So that a program that was built for none is known to fit the board too: all of it is there.
        let ssid = black_box(SSID)?;
        // Lengths that do not fit have not been compiled.
        Some(Self {
            ssid: Ssid::from(ssid).ok()?,
            credentials: match PASSWORD {
                Some(password) => Credentials::from_wpa(password).ok()?,
                None => Credentials::Open,
            },
        })
    }

    /// Starts the module, joins, and gets an address: that.
    ///
    /// # Errors
    /// What wincwifi says; a timeout if there is no address for 20 seconds.
    pub fn join<X: Transfer>(
        &self,
        board: &mut Board,
        stack: &mut Stack<'_, X>,
    ) -> Result<Ipv4Addr, StackError> {
        let client = stack.client();
        while !is_done(client.start_wifi_module())? {
            pause(START_STEP);
        }
        let firmware = client.get_firmware_version()?.firmware_revision;
        board.print(format_args!(
            "module: firmware {}.{}.{}",
            firmware.major, firmware.minor, firmware.patch
        ));
        board.print(format_args!("joining {}", &*self.ssid));
        while !self.is_joined(stack)? {}
        for _ in 0..ADDRESS_TRIES {
            match stack.client().get_ip_settings() {
                Ok(settings) => return Ok(settings.ip),
                Err(nb::Error::WouldBlock) => pause(ADDRESS_STEP),
                Err(nb::Error::Other(error)) => return Err(error),
            }
        }
        Err(StackError::GeneralTimeout)
    }

    /// Whether the module is joined to the access point; if not, has it join.
    ///
    /// # Errors
    /// What wincwifi says: the password is wrong, there is no such access point, it took too long.
    pub fn is_joined<X: Transfer>(&self, stack: &mut Stack<'_, X>) -> Result<bool, StackError> {
        let (ssid, credentials) = (&self.ssid, &self.credentials);
        let client = stack.client();
        is_done(client.connect_to_ap(ssid, credentials, WifiChannel::ChannelAll, false))
    }
}

fn is_done(result: nb::Result<(), StackError>) -> Result<bool, StackError> {
    match result {
        Ok(()) => Ok(true),
        Err(nb::Error::WouldBlock) => Ok(false),
        Err(nb::Error::Other(error)) => Err(error),
    }
}
