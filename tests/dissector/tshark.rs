//! What tshark shows of a capture, by the dissector.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::common::{run, text};

/// How many captures there were.
static FILES: AtomicUsize = AtomicUsize::new(0);

/// A frame as it is shown.
#[derive(Debug, Default, PartialEq)]
pub struct Frame {
    /// The prefix.
    pub prefix: Option<i32>,
    /// The header's text.
    pub header: Option<String>,
    /// The known keys and their values, in order.
    pub keys: Vec<(String, String)>,
    /// The other keys, and their values as they were sent.
    pub unknown: Vec<(String, String)>,
    /// The body, or a part of it.
    pub body: Vec<u8>,
    /// The same as text, if it is.
    pub text: Option<String>,
    /// Where in the body this part begins, if it is not the first.
    pub offset: Option<u64>,
    /// What is remarked: the kind, and the sentence.
    pub remarks: Vec<(String, String)>,
}

impl Frame {
    /// Whether it is shown as none.
    pub fn is_bad(&self) -> bool {
        self.remarks.iter().any(|(kind, _)| kind == "bad_header")
    }
}

/// Runs tshark with the dissector over a capture, with nothing that users have set up.
pub fn tshark(capture: &[u8], options: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/wireshark/unstick.lua");
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let empty = scratch.join("no configuration");
    // A file, since what goes over it twice takes no pipe.
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let file = scratch.join(format!("capture.{}.{number}", std::process::id()));
    fs::write(&file, capture).expect("a file");
    let mut command = Command::new("tshark");
    command
        .env("WIRESHARK_CONFIG_DIR", empty)
        .args(["-n", "-X", &format!("lua_script:{}", script.display())])
        .arg("-r")
        .arg(&file)
        .args(options);
    let output = run(command);
    fs::remove_file(&file).expect("it is there");
    assert!(output.status.success(), "{output:?}");
    for printed in [&output.stdout, &output.stderr] {
        let printed = String::from_utf8_lossy(printed);
        let fault = printed
            .lines()
            .find(|line| line.contains("Lua Error") || line.contains("Lua:"));
        assert_eq!(fault, None);
    }
    output
}

/// The frames that are shown, for each packet.
pub fn frames(capture: &[u8], options: &[&str]) -> Vec<Vec<Frame>> {
    let options = [options, &["-T", "json", "-J", "unstick"]].concat();
    let output = tshark(capture, &options);
    let packets: Vec<Node> = serde_json::from_str(text(&output.stdout)).expect("JSON");
    let frames = packets.iter().map(|packet| {
        let layers = packet
            .get("_source")
            .and_then(|source| source.get("layers"));
        let layers = layers.expect("layers").members();
        let unstick = layers.iter().filter(|(name, _)| name == "unstick");
        unstick.map(|(_, layer)| frame(layer)).collect()
    });
    frames.collect()
}

fn frame(layer: &Node) -> Frame {
    let mut frame = Frame::default();
    gather(layer, &mut frame);
    frame
}

fn gather(node: &Node, frame: &mut Frame) {
    for (name, value) in node.members() {
        let text = || value.text().to_owned();
        match name.strip_prefix("unstick.").unwrap_or(name) {
            "prefix" => frame.prefix = Some(value.text().parse().expect("a number")),
            "header" => frame.header = Some(text()),
            "body" => frame.body = octets(value.text()),
            "body.text" => frame.text = Some(text()),
            "body.offset" => frame.offset = Some(value.text().parse().expect("a number")),
            "member" => {}
            "member_tree" => {
                let of = |key| value.get(key).expect("a field").text().to_owned();
                let member = (of("unstick.member.key"), of("unstick.member.value"));
                frame.unknown.push(member);
            }
            "_ws.expert" => {
                let (kind, _) = &value.members()[0];
                let kind = kind.strip_prefix("unstick.").expect("one of ours");
                let sentence = value.get("_ws.expert.message").expect("a sentence");
                let remark = (kind.to_owned(), sentence.text().to_owned());
                frame.remarks.push(remark);
            }
            key if matches!(value, Node::Text(_)) && name.starts_with("unstick.") => {
                frame.keys.push((key.to_owned(), text()));
            }
            _ => gather(value, frame),
        }
    }
}

fn octets(hex: &str) -> Vec<u8> {
    let octets = hex.split(':').map(|octet| u8::from_str_radix(octet, 16));
    octets.collect::<Result<_, _>>().expect("hexadecimal")
}

/// JSON whose objects may have a key more than once, as tshark writes it.
enum Node {
    Text(String),
    Object(Vec<(String, Node)>),
}

impl Node {
    fn members(&self) -> &[(String, Node)] {
        match self {
            Self::Text(_) => &[],
            Self::Object(members) => members,
        }
    }

    fn get(&self, key: &str) -> Option<&Node> {
        let mut members = self.members().iter();
        members.find_map(|(name, value)| (name == key).then_some(value))
    }

    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Object(_) => panic!("an object"),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an object")
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Object(Vec::new()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Object(members))
    }
}
