//! The way to the Wi-Fi module: SPI, and the pin that selects the module.

use atsamd_hal::ehal::digital::OutputPin;
use atsamd_hal::ehal::spi::SpiBus;
use atsamd_hal::gpio::{PA06, PA12, PB10, PB11, Pin, PushPullOutput};
use atsamd_hal::sercom::Sercom4;
use atsamd_hal::sercom::spi::{self, Duplex};
use wincwifi::{CommError, Transfer};

use crate::board::FREQUENCY;

/// MISO, MOSI and SCK.
pub type Pads = spi::PadsFromIds<Sercom4, PA12, PB10, PB11>;
pub type Spi = spi::Spi<spi::Config<Pads>, Duplex>;

/// What the module is given before and after each exchange, until it has started and from then on: found by trial on this
/// board by the authors of wincwifi.
const SLOW_PAUSE_US: u32 = 330;
const FAST_PAUSE_US: u32 = 10;

/// The bus to the module.
pub struct Bus {
    spi: Spi,
    select: Pin<PA06, PushPullOutput>,
    pause_us: u32,
}

impl Bus {
    pub const fn new(spi: Spi, select: Pin<PA06, PushPullOutput>) -> Self {
        Self {
            spi,
            select,
            pause_us: SLOW_PAUSE_US,
        }
    }

    /// Does this while the module is selected.
    fn exchange(
        &mut self,
        act: impl FnOnce(&mut Spi) -> Result<(), spi::Error>,
    ) -> Result<(), spi::Error> {
        // A pin of this chip cannot fail.
        let _ = self.select.set_low();
        self.delay_us(self.pause_us);
        let result = act(&mut self.spi);
        let result = result.and(self.spi.flush());
        self.delay_us(self.pause_us);
        let _ = self.select.set_high();
        result
    }
}

impl Transfer for Bus {
    fn recv(&mut self, dest: &mut [u8]) -> Result<(), CommError> {
        // The module is to see zeros meanwhile.
        dest.fill(0);
        self.exchange(|spi| spi.transfer_in_place(dest))
            .map_err(|_| CommError::ReadError)
    }

    fn send(&mut self, src: &[u8]) -> Result<(), CommError> {
        self.exchange(|spi| spi.write(src))
            .map_err(|_| CommError::WriteError)
    }

    fn switch_to_high_speed(&mut self) {
        self.pause_us = FAST_PAUSE_US;
    }

    fn delay_us(&mut self, delay: u32) {
        cortex_m::asm::delay(delay.saturating_mul(FREQUENCY / 1_000_000));
    }
}
