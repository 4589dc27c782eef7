//! The dumps of PROTOCOL.md.

/// The document.
pub const PROTOCOL: &str = include_str!("../../PROTOCOL.md");

/// The blocks fenced as `name`, each with its line in the document.
pub fn blocks(name: &str) -> Vec<(usize, Vec<u8>)> {
    let fence = format!("```{name}");
    let mut blocks = Vec::new();
    let mut lines = PROTOCOL.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line == fence {
            let dump = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| *line != "```");
            blocks.push((at + 1, dump.flat_map(octets).collect()));
        }
    }
    blocks
}

/// The octets of one line of a dump: an offset, up to 16 octets, and what they look like.
fn octets(line: &str) -> Vec<u8> {
    let (hex, text) = line.split_once('|').expect("a dump has a column of text");
    let hex = hex.split_whitespace().skip(1);
    let octets: Vec<u8> = hex
        .map(|hex| u8::from_str_radix(hex, 16).expect("two hex digits"))
        .collect();
    let printed: String = octets
        .iter()
        .map(|octet| match octet {
            0x20..0x7f => char::from(*octet),
            _ => '.',
        })
        .collect();
    assert_eq!(text.strip_suffix('|'), Some(&printed[..]), "{line}");
    octets
}
