//! The console: `Serial1` of the board, 115200 baud, 8N1. It only sends.

use core::cell::RefCell;
use core::fmt::{self, Write};

use atsamd_hal::embedded_io::Write as _;
use atsamd_hal::fugit::RateExtU32;
use atsamd_hal::gpio::{AnyPin, PA10};
use atsamd_hal::pac::Pm;
use atsamd_hal::sercom::Sercom0;
use atsamd_hal::sercom::uart::{self, BaudMode, Oversampling};
use atsamd_hal::time::Hertz;
use atsamd_hal::typelevel::NoneT;
use critical_section::Mutex;

type Pads = uart::PadsFromIds<Sercom0, NoneT, PA10>;
type Uart = uart::Uart<uart::Config<Pads>, uart::Tx>;

static CONSOLE: Mutex<RefCell<Option<Uart>>> = Mutex::new(RefCell::new(None));

/// Starts it on a SERCOM that is clocked with `frequency`.
pub fn start(power: &Pm, sercom: Sercom0, pin: impl AnyPin<Id = PA10>, frequency: Hertz) {
    let pads = uart::Pads::default().tx(pin);
    let mode = BaudMode::Fractional(Oversampling::Bits16);
    let uart = uart::Config::new(power, sercom, pads, frequency)
        .baud(115_200.Hz(), mode)
        .enable();
    critical_section::with(|cs| CONSOLE.replace(cs, Some(uart)));
}

/// Writes a line; waits until it is on its way.
pub fn print(line: fmt::Arguments<'_>) {
    critical_section::with(|cs| {
        // A fault in here cannot be told of: the console is in use.
        let Ok(mut console) = CONSOLE.borrow(cs).try_borrow_mut() else {
            return;
        };
        let Some(uart) = &mut *console else {
            return;
        };
        let mut out = Out(uart);
        let _ = out.write_fmt(line);
        let _ = out.write_str("\r\n");
        let _ = uart.flush();
    });
}

struct Out<'u>(&'u mut Uart);

impl Write for Out<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_all(text.as_bytes()).map_err(|_| fmt::Error)
    }
}
