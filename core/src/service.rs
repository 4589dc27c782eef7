//! What a server does with requests: the trait that every service implements, and the router over `op`.

use core::task::{Context, Poll};

use crate::head::{Code, Refusal, Reply, Request};

/// The server's side of one request after another, without I/O.
///
/// A [`Connection`](crate::Connection) calls the methods in the order `begin (body* end)`, and interleaved
/// with those, from `begin` on, `(reply fill*)*`: a service may answer before the body is complete, as
/// [`Echo`](crate::services::Echo) does, or after, as most do. After an error of any of them, after `cancel`,
/// or after a whole reply, which may come before the body is whole, the next call is the next request's `begin`.
///
/// "Not yet" is said with [`Poll::Pending`]. A service that waits for more of the body just returns it; one
/// that waits for something outside of the connection, a child process for instance, has the context's waker
/// woken when it is worth asking again.
pub trait Service {
    /// A request has begun; its body comes through [`body`](Self::body).
    ///
    /// # Errors
    /// The refusal to send; the body is then drained, and there are no more calls for this request.
    fn begin(&mut self, request: &Request) -> Result<(), Refusal>;

    /// Takes octets from the front of `octets`, which is never empty, and returns how many.
    ///
    /// Taking 0 means "not now": the same octets are offered again once reply octets have gone out, or
    /// after a wake.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin).
    fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal>;

    /// The body is complete.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin).
    fn end(&mut self) -> Result<(), Refusal>;

    /// The header of the reply's next frame.
    ///
    /// Called first after [`begin`](Self::begin), and again after each frame whose header said
    /// [`more`](Reply::more). The connection sets `id`.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin): the refusal becomes the reply's last frame.
    fn reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Refusal>>;

    /// Fills the front of `out` with the next octets of the frame's body, and returns how many.
    ///
    /// `out` is never empty and never longer than what is left of the `total_size` octets that the frame's
    /// header announced.
    ///
    /// # Errors
    /// The body cannot be completed. Too late for an error frame: the connection closes inside the frame,
    /// which tells the peer. Returning `Ok(0)` is the same.
    fn fill(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<Result<usize, Refusal>>;

    /// The request is given up, for a reason that is not this service's: stop what was started for it.
    fn cancel(&mut self) {}
}

/// A place for a service: without one every request is refused.
///
/// For engines whose connections are places in fixed memory, which peers take one after the other.
impl<S: Service> Service for Option<S> {
    fn begin(&mut self, request: &Request) -> Result<(), Refusal> {
        let vacant = || Refusal::new(Code::Internal, "nothing is served here");
        self.as_mut().ok_or_else(vacant)?.begin(request)
    }

    fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal> {
        self.as_mut().map_or(Ok(0), |service| service.body(octets))
    }

    fn end(&mut self) -> Result<(), Refusal> {
        self.as_mut().map_or(Ok(()), S::end)
    }

    fn reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        self.as_mut()
            .map_or(Poll::Pending, |service| service.reply(cx))
    }

    fn fill(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        self.as_mut()
            .map_or(Poll::Pending, |service| service.fill(cx, out))
    }

    fn cancel(&mut self) {
        if let Some(service) = self {
            service.cancel();
        }
    }
}

/// A service that says which operations it serves, so that several can stand behind one connection.
pub trait Route: Service {
    /// Whether this service serves `op`.
    fn serves(&self, op: &str) -> bool;

    /// This service and `other` side by side: each request goes to the first that serves its `op`, and is
    /// refused with [`Code::UnknownOp`] if neither does.
    ///
    /// ```
    /// use unstick_core::Route;
    /// use unstick_core::services::{Echo, Output, Responder};
    ///
    /// let service = Echo::<64>::new().or(Responder::<_, 0, 16>::new(
    ///     "now",
    ///     |_: &[u8], out: &mut Output<'_>| {
    ///         out.write(b"noon");
    ///         Ok(())
    ///     },
    /// ));
    /// assert!(service.serves("echo") && service.serves("now") && !service.serves("exec"));
    /// ```
    fn or<B: Route>(self, other: B) -> Or<Self, B>
    where
        Self: Sized,
    {
        Or {
            first: self,
            second: other,
            to_second: false,
        }
    }
}

/// A place without a service serves nothing. `Option` has an `or` of its own: in front of another service it is
/// `Route::or(option, other)`.
impl<R: Route> Route for Option<R> {
    fn serves(&self, op: &str) -> bool {
        self.as_ref().is_some_and(|service| service.serves(op))
    }
}

/// Two services behind one connection: see [`Route::or`].
#[derive(Debug)]
pub struct Or<A, B> {
    first: A,
    second: B,
    to_second: bool,
}

impl<A: Route, B: Route> Or<A, B> {
    fn chosen(&mut self) -> &mut dyn Service {
        if self.to_second {
            &mut self.second
        } else {
            &mut self.first
        }
    }
}

impl<A: Route, B: Route> Service for Or<A, B> {
    fn begin(&mut self, request: &Request) -> Result<(), Refusal> {
        let op = request.op.as_ref().map_or("", |op| op.as_str());
        if !self.serves(op) {
            return Err(Refusal::new(
                Code::UnknownOp,
                format_args!("there is no op `{op}` here; `info` lists those there are"),
            ));
        }
        self.to_second = !self.first.serves(op);
        self.chosen().begin(request)
    }

    fn body(&mut self, octets: &[u8]) -> Result<usize, Refusal> {
        self.chosen().body(octets)
    }

    fn end(&mut self) -> Result<(), Refusal> {
        self.chosen().end()
    }

    fn reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Refusal>> {
        self.chosen().reply(cx)
    }

    fn fill(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<Result<usize, Refusal>> {
        self.chosen().fill(cx, out)
    }

    fn cancel(&mut self) {
        self.chosen().cancel();
    }
}

impl<A: Route, B: Route> Route for Or<A, B> {
    fn serves(&self, op: &str) -> bool {
        self.first.serves(op) || self.second.serves(op)
    }
}
