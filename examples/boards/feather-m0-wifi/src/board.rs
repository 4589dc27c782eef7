//! Board support for the Adafruit Feather M0 WiFi.
//!
//! | what | pins |
//! |---|---|
//! | console: `Serial1`'s TX | PA10 (D1) |
//! | red LED | PA17 (D13) |
//! | module: SPI, SERCOM 4 | MISO PA12, MOSI PB10, SCK PB11 |
//! | module: chip select, interrupt, reset, enable | PA06 (D8), PA21 (D7), PA08 (D4), PA14 (D2) |

use core::fmt;
use core::time::Duration;

use atsamd_hal::clock::GenericClockController;
use atsamd_hal::ehal::digital::{InputPin, OutputPin};
use atsamd_hal::ehal::spi::MODE_0;
use atsamd_hal::fugit::RateExtU32;
use atsamd_hal::gpio::{PA17, PA21, Pin, Pins, PullUpInput, PushPullOutput};
use atsamd_hal::pac::Peripherals;
use atsamd_hal::sercom::spi;
use board_cortex_m::{clock, stack};
use cortex_m::peripheral::SCB;
use responder::StackUse;

use crate::bus::Bus;
use crate::console;

/// What the processor runs at: the board's crystal of 32,768 Hz, multiplied.
pub const FREQUENCY: u32 = 48_000_000;
/// The SERCOMs can do 12 MHz at 48; the divider leaves 8 below that (data sheet, chapters 27 and 37).
const SPI_FREQUENCY: u32 = 8_000_000;
/// How long the module is held without power and reset, and how long each takes to end (its data sheet, power-up sequence).
const MODULE_OFF: Duration = Duration::from_millis(100);
const MODULE_STEP: Duration = Duration::from_millis(10);

/// The board, but for the way to its Wi-Fi module.
pub struct Board {
    led: Pin<PA17, PushPullOutput>,
    /// Low while the module has an event.
    event: Pin<PA21, PullUpInput>,
}

impl Board {
    /// The name, as `info` and the console say it.
    pub const NAME: &'static str = "feather-m0-wifi";

    /// The board, and the way to its module, which has just been reset; `None` but for the first time.
    pub fn take() -> Option<(Self, Bus)> {
        let core = cortex_m::Peripherals::take()?;
        let mut chip = Peripherals::take()?;
        let mut clocks = GenericClockController::with_external_32kosc(
            chip.gclk,
            &mut chip.pm,
            &mut chip.sysctrl,
            &mut chip.nvmctrl,
        );
        let main = clocks.gclk0();
        clock::start(core.SYST, FREQUENCY);
        let pins = Pins::new(chip.port);
        let uart_clock = clocks.sercom0_core(&main)?;
        console::start(&chip.pm, chip.sercom0, pins.pa10, uart_clock.freq());

        let spi_clock = clocks.sercom4_core(&main)?;
        let pads = spi::Pads::default()
            .data_in(pins.pa12)
            .data_out(pins.pb10)
            .sclk(pins.pb11);
        let spi = spi::Config::new(&chip.pm, chip.sercom4, pads, spi_clock.freq())
            .spi_mode(MODE_0)
            .baud(SPI_FREQUENCY.Hz())
            .enable();
        let mut select = pins.pa06.into_push_pull_output();
        let mut enable = pins.pa14.into_push_pull_output();
        let mut reset = pins.pa08.into_push_pull_output();
        // The pins of this chip cannot fail.
        let _ = select.set_high();
        let _ = enable.set_low();
        let _ = reset.set_low();
        pause(MODULE_OFF);
        let _ = enable.set_high();
        pause(MODULE_STEP);
        let _ = reset.set_high();
        pause(MODULE_STEP);

        let board = Self {
            led: pins.pa17.into_push_pull_output(),
            event: pins.pa21.into_pull_up_input(),
        };
        Some((board, Bus::new(spi, select)))
    }

    /// The time since the board was started.
    pub fn now(&self) -> Duration {
        clock::now()
    }

    /// Waits until the module has an event, or for that long. No timer is set up to wake the processor: it does not sleep.
    pub fn sleep(&mut self, most: Duration) {
        let until = self.now().saturating_add(most);
        while self.event.is_high().unwrap_or(true) && self.now() < until {}
    }

    /// Switches the red LED.
    pub fn set_led(&mut self, on: bool) {
        let _ = self.led.set_state(on.into());
    }

    /// Writes a line to the console.
    pub fn print(&mut self, line: fmt::Arguments<'_>) {
        console::print(line);
    }

    /// Starts the board anew.
    pub fn reset(&mut self) -> ! {
        SCB::sys_reset()
    }

    /// What the call stack has needed so far.
    pub fn stack() -> StackUse {
        stack::usage()
    }
}

/// Waits for that long.
pub fn pause(time: Duration) {
    let until = clock::now().saturating_add(time);
    while clock::now() < until {}
}

#[unsafe(no_mangle)]
fn board_print(line: fmt::Arguments<'_>) {
    console::print(line);
}
