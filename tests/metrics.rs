//! `unstick serve --metrics`: the page as a parser of Prometheus' format reads it, and as HTTP has it.

mod common;
mod files_common;

use std::io::{Read, Write};
use std::net::{Shutdown as Direction, UdpSocket};
use std::time::{Duration, Instant};

use common::{Running, SOON, Server, connect, eventually, run, text, unstick};
use files_common::Place;
use openmetrics_parser::prometheus::parse_prometheus;
use openmetrics_parser::{PrometheusType, PrometheusValue};

/// Where the page of a server is.
fn page_of(server: &Server) -> String {
    let line = server.stdout.next();
    let url = line.strip_prefix("listening metrics http://");
    let address = url.and_then(|url| url.strip_suffix("/metrics"));
    address.unwrap_or_else(|| panic!("{line}")).to_owned()
}

/// What is answered to these octets, head and body.
fn visit(page: &str, request: &str) -> (String, String) {
    let mut stream = connect(page);
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn get(page: &str) -> String {
    let (head, body) = visit(page, "GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    body
}

/// One number of a page: that of a counter or a gauge, or how many observations a histogram has.
fn number(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let parsed = parse_prometheus(page).unwrap_or_else(|error| panic!("{error:?} in {page}"));
    let family = parsed
        .families
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {page}"));
    assert!(!family.help.is_empty(), "{name}");
    let labels: Vec<_> = labels.iter().map(|label| (*label).to_owned()).collect();
    let sample = family.get_sample_by_label_values(&labels)?;
    Some(match (&family.family_type, &sample.value) {
        (PrometheusType::Counter, PrometheusValue::Counter(counter)) => {
            assert!(name.ends_with("_total"), "{name}");
            counter.value.as_f64()
        }
        (PrometheusType::Gauge, PrometheusValue::Gauge(gauge)) => gauge.as_f64(),
        (PrometheusType::Histogram, PrometheusValue::Histogram(histogram)) => {
            let last = histogram.buckets.last().expect("buckets");
            assert_eq!(last.upper_bound, f64::INFINITY);
            assert_eq!(Some(last.count.as_f64() as u64), histogram.count);
            histogram.count.expect("a count") as f64
        }
        other => panic!("{name}: {other:?}"),
    })
}

/// Waits until a number is this: what is counted once it is sent may be counted after it has arrived.
fn await_number(page: &str, name: &str, labels: &[&str], expected: f64) {
    eventually(name, || {
        (number(&get(page), name, labels) == Some(expected)).then_some(())
    });
}

/// A frame without a body.
fn frame(header: &str) -> Vec<u8> {
    let len = u32::try_from(header.len()).expect("short").to_le_bytes();
    [&len, header.as_bytes()].concat()
}

/// Reads a frame that has no body.
fn read_frame(stream: &mut impl Read) -> String {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).expect("a prefix");
    let mut header = vec![0; u32::from_le_bytes(prefix) as usize];
    stream.read_exact(&mut header).expect("a header");
    String::from_utf8(header).expect("UTF-8")
}

fn both_engines(test: impl Fn(&[&str])) {
    for engine in ["threads", "nal"] {
        test(&["--metrics", "127.0.0.1:0", "--engine", engine]);
    }
}

#[test]
fn what_was_asked_is_counted() {
    both_engines(|arguments| {
        let place = Place::new(&format!("metrics.{}", arguments[3]));
        let server = place.server(&[arguments, &["--writable"]].concat());
        let page = page_of(&server);
        let ask = |words: &[&str]| run(place.command(words));
        for _ in 0..3 {
            assert!(ask(&["echo", &server.tcp, "hello"]).status.success());
        }
        assert!(
            ask(&["echo", "--udp", &server.udp, "datagram"])
                .status
                .success()
        );
        assert!(ask(&["info", &server.tcp]).status.success());
        place.write("file", &[7; 100_000]);
        assert!(ask(&["put", &server.tcp, "file"]).status.success());
        assert!(
            ask(&["get", "--force", &server.tcp, "file"])
                .status
                .success()
        );
        assert!(ask(&["ls", &server.tcp]).status.success());
        assert!(!ask(&["get", &server.tcp, "missing"]).status.success());
        assert!(!ask(&["exec", &server.tcp, "--", "true"]).status.success());
        // Whatever peers call it, it is one label.
        let mut stream = connect(&server.tcp);
        for number in 0..50 {
            let header = format!("{{\"op\":\"fly{number}\\n\\\"\",\"total_size\":0}}");
            stream.write_all(&frame(&header)).expect("it reads");
            assert!(read_frame(&mut stream).contains("unknown_op"));
        }

        await_number(&page, "unstick_datagrams_sent_total", &[], 1.0);
        let page = get(&page);
        let requests = |op, outcome| number(&page, "unstick_requests_total", &[op, outcome]);
        assert_eq!(requests("echo", "ok"), Some(4.0));
        assert_eq!(requests("info", "ok"), Some(1.0));
        assert_eq!(requests("put", "ok"), Some(1.0));
        assert_eq!(requests("get", "ok"), Some(1.0));
        assert_eq!(requests("get", "not_found"), Some(1.0));
        assert_eq!(requests("list", "ok"), Some(1.0));
        assert_eq!(requests("exec", "denied"), Some(1.0));
        assert_eq!(requests("exec", "ok"), Some(0.0));
        assert_eq!(requests("other", "unknown_op"), Some(50.0));
        assert!(!page.contains("fly"), "{page}");

        let of = |name, op| number(&page, name, &[op]);
        assert_eq!(of("unstick_request_body_bytes_total", "echo"), Some(23.0));
        assert_eq!(of("unstick_reply_body_bytes_total", "echo"), Some(23.0));
        assert_eq!(of("unstick_request_body_bytes_total", "put"), Some(1e5));
        assert_eq!(of("unstick_reply_body_bytes_total", "get"), Some(1e5));
        assert_eq!(of("unstick_request_duration_seconds", "echo"), Some(4.0));
        assert_eq!(of("unstick_request_duration_seconds", "other"), Some(50.0));
        assert_eq!(
            of("unstick_build_info", env!("CARGO_PKG_VERSION")),
            Some(1.0)
        );

        let all = |name| number(&page, name, &[]).expect("a number");
        assert!(all("unstick_connections_accepted_total") >= 10.0);
        assert_eq!(all("unstick_connections_refused_total"), 0.0);
        assert_eq!(all("unstick_datagrams_received_total"), 1.0);
        assert_eq!(all("unstick_datagrams_repeated_total"), 0.0);
    });
}

#[test]
fn connections_are_counted_as_they_come_and_go() {
    both_engines(|arguments| {
        let server = Server::start(&[arguments, &["--max-connections", "1"]].concat());
        let page = page_of(&server);
        let all = |name| number(&get(&page), name, &[]).expect("a number");
        let mut first = connect(&server.tcp);
        let echo = frame("{\"op\":\"echo\",\"total_size\":0}");
        first.write_all(&echo).expect("it reads");
        read_frame(&mut first);
        let mut second = connect(&server.tcp);
        assert!(read_frame(&mut second).contains("busy"));
        await_number(&page, "unstick_connections_refused_total", &[], 1.0);
        assert_eq!(all("unstick_connections_accepted_total"), 1.0);
        assert_eq!(all("unstick_connections_open"), 1.0);
        drop((first, second));
        await_number(&page, "unstick_connections_open", &[], 0.0);
    });
}

#[test]
fn a_datagram_that_comes_twice_is_a_repeat() {
    both_engines(|arguments| {
        let server = Server::start(arguments);
        let page = page_of(&server);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(SOON)).expect("a timeout");
        for _ in 0..2 {
            let echo = frame("{\"op\":\"echo\",\"id\":5,\"total_size\":0}");
            socket.send_to(&echo, &server.udp).expect("sent");
            socket.recv(&mut [0; 100]).expect("an answer");
        }
        await_number(&page, "unstick_datagrams_sent_total", &[], 2.0);
        let page = get(&page);
        let all = |name| number(&page, name, &[]);
        assert_eq!(all("unstick_datagrams_received_total"), Some(2.0));
        assert_eq!(all("unstick_datagrams_repeated_total"), Some(1.0));
        let echoes = number(&page, "unstick_requests_total", &["echo", "ok"]);
        assert_eq!(echoes, Some(1.0));
    });
}

#[test]
fn a_command_whose_peer_is_gone_was_cancelled() {
    both_engines(|arguments| {
        let server = Server::start(&[arguments, &["--allow-exec"]].concat());
        let page = page_of(&server);
        let mut exec = Running::start(unstick(["exec", &server.tcp, "--", "echo here; sleep 600"]));
        assert_eq!(exec.stdout().next(), "here");
        drop(exec);
        eventually("it is counted", || {
            number(
                &get(&page),
                "unstick_requests_total",
                &["exec", "cancelled"],
            )
        });
    });
}

#[test]
fn older_wires_are_counted_too() {
    let arguments = ["--metrics", "127.0.0.1:0", "--allow-exec", "--wire", "raw"];
    let server = Server::start(&arguments);
    let page = page_of(&server);
    for address in [server.address(false), server.address(true)] {
        let mut words = vec!["exec", "--wire", "raw"];
        words.extend(address);
        words.extend(["--", "echo hello"]);
        assert_eq!(text(&run(unstick(words)).stdout), "hello\n");
    }
    await_number(&page, "unstick_requests_total", &["exec", "ok"], 2.0);
    await_number(&page, "unstick_datagrams_sent_total", &[], 1.0);
    let page = get(&page);
    let of = |name, labels: &[&str]| number(&page, name, labels);
    assert_eq!(
        of("unstick_request_body_bytes_total", &["exec"]),
        Some(20.0)
    );
    assert_eq!(of("unstick_reply_body_bytes_total", &["exec"]), Some(12.0));
    assert_eq!(of("unstick_connections_accepted_total", &[]), Some(1.0));
    assert_eq!(of("unstick_datagrams_received_total", &[]), Some(1.0));
}

#[test]
fn the_page_is_http() {
    let mut server = Server::start(&["--metrics", "127.0.0.1:0"]);
    let page = page_of(&server);
    let (head, body) = visit(&page, "GET /metrics?name=x HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("Content-Type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
    let (head, body) = visit(&page, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && body.is_empty(),
        "{head}"
    );
    let (head, body) = visit(&page, "HEAD / HTTP/1.1\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 404 ") && body.is_empty(),
        "{head} {body}"
    );
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "404"),
        ("GET /metricsx HTTP/1.1\r\n\r\n".to_owned(), "404"),
        (
            "POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
            "405",
        ),
        ("\x16\x03\x01 hello\r\n\r\n".to_owned(), "400"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(9000)), "431"),
        (
            format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100)),
            "400",
        ),
    ] {
        let (head, body) = visit(&page, &request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(body.ends_with('\n'), "{body}");
    }
    let (head, _) = visit(&page, "POST /metrics HTTP/1.1\r\n\r\n");
    assert!(head.contains("Allow: GET, HEAD"), "{head}");
    server.assert_alive();
}

#[test]
fn visitors_who_say_nothing_are_let_go() {
    let mut server = Server::start(&["--metrics", "127.0.0.1:0"]);
    let page = page_of(&server);
    let begun = Instant::now();
    let mut visitors: Vec<_> = (0..40).map(|_| connect(&page)).collect();
    for visitor in &mut visitors {
        // Some were closed at once, since there were too many.
        let _ = visitor.write_all(b"GET /met");
    }
    server.assert_alive();
    for visitor in &mut visitors {
        let _ = visitor.read_to_end(&mut Vec::new());
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
    drop(visitors);
    // One that closes its sending side has still asked.
    eventually("there is a place again", || {
        let mut stream = connect(&page);
        let request = b"GET /metrics HTTP/1.1\r\n\r\n";
        let asked = stream.write_all(request);
        let asked = asked.and_then(|()| stream.shutdown(Direction::Write));
        let mut answer = String::new();
        asked
            .and_then(|()| stream.read_to_string(&mut answer))
            .ok()?;
        answer.starts_with("HTTP/1.1 200 OK\r\n").then_some(())
    });
}
