//! Headers as JSON against serde_json, whose result is to be the same but for the differences that the page of
//! `unstick_core::json` lists.
//!
//! Input: if octet 0 is even, the rest is the text. If it is odd, the rest chooses a text that is JSON, or nearly.
#![no_main]

use std::fmt::Debug;

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use unstick_core::json::{self, MAX_DEPTH};
use unstick_core::{Reply, Request};

/// A header with a value of every type that there is.
#[derive(Debug, PartialEq, Deserialize)]
struct Odd {
    total_size: u64,
    exit: Option<i8>,
    id: Option<u8>,
    more: Option<bool>,
    name: Option<heapless::String<8>>,
    parts: Option<heapless::Vec<u16, 3>>,
    kind: Option<Kind>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Good,
    Bad,
}

/// What `unstick_core::json` lists.
fn reference<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    let value = serde_json::from_slice(text).ok().or_else(|| {
        // 5: `-0` is 0 for a signed integer.
        serde_json::from_slice(&with_zeros(text)?).ok()
    })?;
    // 4: UTF-8 everywhere.
    let text = str::from_utf8(text).ok()?;
    // 2: an object only.
    let is_object = text.trim_ascii_start().starts_with('{');
    // 1: a bounded depth. 3: no half surrogate pairs.
    (is_object && depth(text) <= MAX_DEPTH && !has_half_pairs(text)).then_some(value)
}

/// The tokens of valid JSON: strings with their quotes, and everything else octet by octet or, where it is a number
/// or a word, whole.
fn tokens(mut text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    while let Some(first) = text.bytes().next() {
        let len = match first {
            b'"' => {
                let mut escaped = false;
                let closing = text.bytes().skip(1).position(|octet| {
                    let closes = octet == b'"' && !escaped;
                    escaped = octet == b'\\' && !escaped;
                    closes
                });
                closing.unwrap() + 2
            }
            b'-' | b'0'..=b'9' => {
                let more = |octet| !matches!(octet, b'-' | b'+' | b'.' | b'0'..=b'9' | b'e' | b'E');
                text.bytes().position(more).unwrap_or(text.len())
            }
            _ => 1,
        };
        let (token, rest) = text.split_at(len);
        if !token.trim_ascii().is_empty() {
            tokens.push(token);
        }
        text = rest;
    }
    tokens
}

/// Valid JSON with 0 for each -0 that is the value of the key `exit`, the only signed one.
fn with_zeros(text: &[u8]) -> Option<Vec<u8>> {
    serde_json::from_slice::<IgnoredAny>(text).ok()?;
    let mut tokens = tokens(str::from_utf8(text).ok()?);
    for place in 2..tokens.len() {
        if let [key, ":", "-0"] = tokens[place - 2..=place]
            && serde_json::from_str::<String>(key).is_ok_and(|key| key == "exit")
        {
            tokens[place] = "0";
        }
    }
    Some(tokens.concat().into_bytes())
}

/// How deep valid JSON is nested.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for token in tokens(text) {
        match token {
            "{" | "[" => depth += 1,
            "}" | "]" => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Whether a string in valid JSON has half of a surrogate pair.
fn has_half_pairs(text: &str) -> bool {
    tokens(text)
        .iter()
        .any(|token| token.starts_with('"') && serde_json::from_str::<String>(token).is_err())
}

fn law<T: DeserializeOwned + PartialEq + Debug>(text: &[u8]) {
    let mut copy = text.to_vec();
    let result = json::decode::<T>(&mut copy, &mut vec![0; text.len()]);
    let shown = text.escape_ascii();
    let expected = reference(text);
    assert_eq!(
        result.as_ref().ok(),
        expected.as_ref(),
        "{result:?} of {shown}"
    );
    if let Err(error) = result {
        assert!(error.offset as usize <= text.len(), "{error} in {shown}");
        let before = &text[..error.offset as usize];
        assert!(
            serde_json::from_slice::<IgnoredAny>(before).is_ok() || str::from_utf8(before).is_ok(),
            "{error} in {shown}"
        );
    }
}

/// Writes a text that is JSON, or nearly.
struct Writer<'u, 'a> {
    input: &'u mut Unstructured<'a>,
    text: Vec<u8>,
}

impl Writer<'_, '_> {
    fn one_of(&mut self, texts: &[&str]) -> Result<()> {
        let text = self.input.choose(texts)?;
        self.text.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn space(&mut self) -> Result<()> {
        self.one_of(&["", "", "", "", " ", "\n", "\t \r"])
    }

    fn object(&mut self, depth: usize) -> Result<()> {
        self.text.push(b'{');
        for number in 0..self.input.int_in_range(0..=7)? {
            if number > 0 {
                self.one_of(&[",", ",", ",", " ,\n"])?;
            }
            self.space()?;
            self.key()?;
            self.space()?;
            self.text.push(b':');
            self.space()?;
            self.value(depth)?;
            self.space()?;
        }
        self.text.push(b'}');
        Ok(())
    }

    fn key(&mut self) -> Result<()> {
        if self.input.ratio(1, 4)? {
            return self.string();
        }
        self.one_of(&[
            r#""total_size""#,
            r#""total_size""#,
            r#""total_size""#,
            r#""total\u005fsize""#,
            r#""id""#,
            r#""exit""#,
            r#""\u0065xit""#,
            r#""more""#,
            r#""name""#,
            r#""parts""#,
            r#""kind""#,
            r#""op""#,
            r#""filename""#,
            r#""timeout_ms""#,
            r#""offset""#,
            r#""sha256""#,
            r#""overwrite""#,
            r#""mode""#,
            r#""mtime_ns""#,
            r#""stream""#,
            r#""error""#,
            r#""message""#,
            r#""retry_after_ms""#,
        ])
    }

    fn value(&mut self, depth: usize) -> Result<()> {
        match self.input.int_in_range(0..=9)? {
            0 | 1 => self.one_of(&[
                "0",
                "1",
                "5",
                "-0",
                "-1",
                "127",
                "128",
                "-128",
                "-129",
                "255",
                "256",
                "511",
                "512",
                "65536",
                "4294967295",
                "4294967296",
                "18446744073709551615",
                "18446744073709551616",
                "1.0",
                "1e3",
                "-0.0",
                "0e1",
                "01",
                "-",
                "1.",
                "2147483647",
                "-2147483648",
            ]),
            2 => self.one_of(&["true", "false", "null", "nul", "truex", "NaN"]),
            3 => self.one_of(&[
                r#""good""#,
                r#""bad""#,
                r#""stdout""#,
                r#""stderr""#,
                r#""busy""#,
                r#""e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855""#,
            ]),
            4 | 5 => self.string(),
            6 if depth < 40 => self.object(depth + 1),
            7 if depth < 40 => {
                self.text.push(b'[');
                for number in 0..self.input.int_in_range(0..=4)? {
                    if number > 0 {
                        self.text.push(b',');
                    }
                    self.space()?;
                    self.value(depth + 1)?;
                    self.space()?;
                }
                self.text.push(b']');
                Ok(())
            }
            8 => {
                // Straight down, to where the bound is.
                let levels = self.input.int_in_range(0..=MAX_DEPTH + 1)?;
                self.text.extend(vec![b'['; levels]);
                self.text.extend(vec![b']'; levels]);
                if levels == 0 {
                    self.text.push(b'0');
                }
                Ok(())
            }
            _ => {
                let number: i64 = self.input.arbitrary()?;
                self.text.extend_from_slice(number.to_string().as_bytes());
                Ok(())
            }
        }
    }

    fn string(&mut self) -> Result<()> {
        self.text.push(b'"');
        for _ in 0..self.input.int_in_range(0..=10)? {
            match self.input.int_in_range(0..=3)? {
                0 => self.one_of(&[
                    r"\n",
                    r"\t",
                    r"\r",
                    r"\b",
                    r"\f",
                    r"\/",
                    r"\\",
                    r#"\""#,
                    r"\u0000",
                    r"\u001f",
                    r"\u0022",
                    r"\u005C",
                    r"\u00e9",
                    r"\u6d4b",
                    r"\uD83D\uDE00",
                    r"\ud83d",
                    r"\ude00",
                    r"\ud83d\ud83d",
                    r"\u12",
                    r"\x",
                    r"\ud83dx",
                    r"\uFFFF",
                ])?,
                1 => {
                    let unit: u16 = self.input.arbitrary()?;
                    self.text
                        .extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
                2 => self.one_of(&[
                    "a", "z", "é", "测", "😀", "/", "{", "]", "\u{7f}", "\u{2028}",
                ])?,
                _ => {
                    let letter: char = self.input.arbitrary()?;
                    if !matches!(letter, '"' | '\\' | '\0'..' ') {
                        let mut octets = [0; 4];
                        self.text
                            .extend_from_slice(letter.encode_utf8(&mut octets).as_bytes());
                    }
                }
            }
        }
        self.text.push(b'"');
        Ok(())
    }

    /// Breaks what was written, in a few places or in none.
    fn break_it(&mut self) -> Result<()> {
        for _ in 0..self.input.int_in_range(0..=6_usize)?.saturating_sub(3) {
            let place = self.input.choose_index(self.text.len())?;
            match self.input.int_in_range(0..=3)? {
                0 => self.text.truncate(place),
                1 => drop(self.text.remove(place)),
                2 => self.text[place] = self.input.arbitrary()?,
                _ => self.text.insert(place, self.input.arbitrary()?),
            }
            if self.text.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

fn written(octets: &[u8]) -> Vec<u8> {
    let mut writer = Writer {
        input: &mut Unstructured::new(octets),
        text: Vec::new(),
    };
    // With no octets left, what is written so far will do.
    let _ = writer.space();
    let _ = writer.object(1);
    let _ = writer.space();
    let _ = writer.break_it();
    writer.text
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, octets)) = input.split_first() else {
        return;
    };
    let text = match kind % 2 {
        0 => octets.to_vec(),
        _ => written(octets),
    };
    law::<Request>(&text);
    law::<Reply>(&text);
    law::<Odd>(&text);
});
