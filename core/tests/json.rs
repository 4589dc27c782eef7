//! Laws of `json`: what serde_json accepts is accepted with the same result and what it refuses is refused, but
//! for the differences that the module's page lists; every refusal names the octet to blame.

use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned, de::IgnoredAny};
use unstick_core::json::{self, MAX_DEPTH};
use unstick_core::{EncodeError, HeaderError, HeaderErrorKind, HeaderErrorKind::*};

/// What an attacker would send more of.
const MANY: usize = if cfg!(miri) { 100 } else { 10_000 };

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Echo,
    Put,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Head {
    total_size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    op: Option<Op>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<heapless::String<12>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    more: Option<bool>,
    #[serde(default, skip_serializing_if = "heapless::Vec::is_empty")]
    parts: heapless::Vec<u8, 4>,
}

fn decode<T: DeserializeOwned>(text: impl AsRef<[u8]>) -> Result<T, HeaderError> {
    let mut text = text.as_ref().to_vec();
    let mut scratch = vec![0; text.len()];
    let result = json::decode(&mut text, &mut scratch);
    if result.is_ok() {
        // What serde-json-core was handed is JSON, whatever it would have put up with.
        let mut values = serde_json::Deserializer::from_slice(&text).into_iter::<IgnoredAny>();
        assert!(
            matches!(values.next(), Some(Ok(_))),
            "{}",
            text.escape_ascii()
        );
    }
    result
}

fn head(text: impl AsRef<[u8]>) -> Head {
    let text = text.as_ref();
    decode(text).unwrap_or_else(|error| panic!("{error} in {}", text.escape_ascii()))
}

#[track_caller]
fn refused(text: impl AsRef<[u8]>, kind: HeaderErrorKind, offset: usize) {
    let offset = u32::try_from(offset).unwrap();
    assert_eq!(
        decode::<Head>(&text),
        Err(HeaderError { offset, kind }),
        "{}",
        text.as_ref().escape_ascii()
    );
}

/// Refused once all of it is known to be JSON.
#[track_caller]
fn refused_as_a_whole(text: &str, kind: HeaderErrorKind) {
    refused(text, kind, text.len());
}

// ---------------------------------------------------------------------------------------------------------------
// The reference: serde_json, and the written-down differences.

fn reference<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    let value = serde_json::from_slice(text).ok()?;
    let text = str::from_utf8(text).ok()?;
    let is_object = text.trim_start().starts_with('{');
    (is_object && depth(text) <= MAX_DEPTH && escapes_are_unicode(text)).then_some(value)
}

/// How deep valid JSON is nested.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string) = (0_usize, 0, false);
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => in_string = !in_string,
            b'\\' => drop(octets.next()),
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Whether every unbroken run of `\u` escapes in valid JSON is UTF-16.
fn escapes_are_unicode(text: &str) -> bool {
    let (mut rest, mut run) = (text, Vec::new());
    let good = |run: &mut Vec<u16>| char::decode_utf16(run.drain(..)).all(|unit| unit.is_ok());
    while let Some(next) = rest.chars().next() {
        let unit = rest
            .strip_prefix("\\u")
            .and_then(|rest| u16::from_str_radix(&rest[..4], 16).ok());
        run.extend(unit);
        if unit.is_none() && !good(&mut run) {
            return false;
        }
        rest = &rest[match (unit, next) {
            (Some(_), _) => 6,
            (None, '\\') => 2,
            _ => next.len_utf8(),
        }..];
    }
    good(&mut run)
}

/// Whether `prefix` can still become JSON: serde_json has nothing against it but that it ends.
fn can_go_on(prefix: &[u8], with: &str) -> bool {
    match serde_json::from_slice::<IgnoredAny>(&[prefix, with.as_bytes()].concat()) {
        Ok(_) => true,
        Err(error) => error.is_eof(),
    }
}

/// The law of this module, for one text.
fn law<T: DeserializeOwned + PartialEq + core::fmt::Debug>(text: &[u8]) {
    let shown = text.escape_ascii();
    let result = decode::<T>(text);
    assert_eq!(
        result.as_ref().ok(),
        reference(text).as_ref(),
        "{result:?} of {shown}"
    );
    let Err(HeaderError { offset, kind }) = result else {
        return;
    };
    let offset = offset as usize;
    let before = text
        .get(..offset)
        .unwrap_or_else(|| panic!("{kind:?} beyond {shown}"));
    match kind {
        NotUtf8 => assert_eq!(
            str::from_utf8(text).unwrap_err().valid_up_to(),
            offset,
            "{shown}"
        ),
        NotAnObject => {
            assert!(before.trim_ascii().is_empty(), "{shown}");
            assert_ne!(text.get(offset), Some(&b'{'), "{shown}");
        }
        Syntax => {
            // A number may stop where only a digit can follow, which serde_json does not call its end.
            assert!(
                can_go_on(before, "") || can_go_on(before, "0"),
                "{kind:?} at {offset}: late for {shown}"
            );
            let early = offset < text.len() && can_go_on(&text[..=offset], "0000");
            assert!(!early, "{kind:?} at {offset}: early for {shown}");
        }
        TooDeep => {
            assert!(matches!(text[offset], b'[' | b'{'), "{shown}");
            let padded = [before, b"\""].concat();
            assert_eq!(
                depth(&String::from_utf8(padded).unwrap()),
                MAX_DEPTH,
                "{shown}"
            );
        }
        LoneSurrogate => assert!(text[offset..].starts_with(b"\\u"), "{shown}"),
        TrailingOctets => assert!(
            serde_json::from_slice::<IgnoredAny>(before).is_ok(),
            "{shown}"
        ),
        _ => {
            assert_eq!(offset, text.len(), "{shown}");
            assert!(
                serde_json::from_slice::<IgnoredAny>(text).is_ok(),
                "{kind:?} for {shown}"
            );
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Examples.

#[test]
fn what_python_sends() {
    let text = r#"{"total_size": 5, "op": "put", "id": null, "name": "\u6d4b\u8bd5 \ud83d\ude00", "more": true}"#;
    let expected = Head {
        total_size: 5,
        op: Some(Op::Put),
        name: Some("测试 😀".try_into().unwrap()),
        more: Some(true),
        ..Head::default()
    };
    assert_eq!(head(text), expected);
    law::<Head>(text.as_bytes());
}

#[test]
fn white_space_may_stand_between_any_two_tokens() {
    let text = " \t\r\n{ \"total_size\"\n:\r5\t, \"parts\" : [ 1 , 2 ] , \"x\" : [ ] , \"y\" : { } } \t\r\n";
    assert_eq!(
        (head(text).total_size, &head(text).parts[..]),
        (5, &[1, 2][..])
    );
    refused("{\"total_size\":5}\x0c", TrailingOctets, 16);
    refused("{\x0b\"total_size\":5}", Syntax, 1);
    refused("{\u{a0}\"total_size\":5}", Syntax, 1);
}

#[test]
fn every_escape_is_unescaped_in_keys_and_values() {
    let name = |escaped: &str| {
        head(format!(r#"{{"total_size":0,"name":"{escaped}"}}"#))
            .name
            .unwrap()
    };
    assert_eq!(name(r#"\"\\\/\b\f\n\r\t"#), "\"\\/\x08\x0c\n\r\t");
    assert_eq!(name(r"\u0022\u005c\u005C\u002f"), "\"\\\\/");
    assert_eq!(name(r"\u0000\u0001\u001f\u0020\u007f"), "\0\x01\x1f \x7f");
    assert_eq!(
        name(r"\u0080\u07ff\u0800\uffff"),
        "\u{80}\u{7ff}\u{800}\u{ffff}"
    );
    assert_eq!(name(r"\ud7ff\ue000"), "\u{d7ff}\u{e000}");
    assert_eq!(name(r"\ud800\udc00\uDBFF\uDFFF"), "\u{10000}\u{10ffff}");
    assert_eq!(name(r"\\u0041"), r"\u0041");
    assert_eq!(name(r"\u005cu0041"), r"\u0041");
    assert_eq!(name("\u{7f}é\u{2028}"), "\u{7f}é\u{2028}");
    // 72 octets of escapes in a string of at most 12.
    assert_eq!(name(&r"\u0061".repeat(12)), "aaaaaaaaaaaa");
    assert_eq!(head(r#"{"\u0074otal\u005fsize":7}"#).total_size, 7);
    assert_eq!(
        head(r#"{"total_size":7,"op":"\u0065cho"}"#).op,
        Some(Op::Echo)
    );
}

#[test]
fn unknown_keys_may_hold_anything() {
    for value in [
        r#""][}{\",:\\""#,
        r#"["]",[[],{}],{"}":"{"},"\\"]"#,
        r#"{"a":{"b":[{"total_size":1}]},"a":2}"#,
        r#""\ud83d\ude00\u0000\"""#,
        r#"{"\ud83d\ude00\u0000\"":0}"#,
        "-0",
        "-0.0e-0",
        "1e999999999999",
        "0.00000000000000000000000000000000000000001E+400",
        "123456789012345678901234567890123456789012345678901234567890",
        "true",
        "false",
        "null",
        "\"\u{7f}\u{fffe}\u{10ffff}\"",
    ] {
        for text in [
            format!(r#"{{"x":{value},"total_size":9}}"#),
            format!(r#"{{"total_size":9,"x":{value}}}"#),
            format!("{{ \"total_size\" : 9 , \"x\" : {value} , \"y\" : [ {value} , {value} ] }}"),
        ] {
            assert_eq!(head(&text).total_size, 9);
            law::<Head>(text.as_bytes());
        }
    }
    let long = format!(
        r#"{{"x":"{}","total_size":9}}"#,
        r"\n\u0007\u00e9".repeat(MANY / 10)
    );
    assert_eq!(head(long).total_size, 9);
}

#[test]
fn only_one_object_is_a_header() {
    refused("", NotAnObject, 0);
    refused(" \r\n\t", NotAnObject, 4);
    refused("[]", NotAnObject, 0);
    refused(" [5]", NotAnObject, 1);
    refused("null", NotAnObject, 0);
    refused("5", NotAnObject, 0);
    refused(r#""{}""#, NotAnObject, 0);
    refused("'a'", NotAnObject, 0);
    refused("}", NotAnObject, 0);
    refused("\u{feff}{\"total_size\":0}", NotAnObject, 0);
    refused("{\"total_size\":0}\u{feff}", TrailingOctets, 16);
    refused(r#"{"total_size":0}{"#, TrailingOctets, 16);
    refused(r#"{"total_size":0} ,"#, TrailingOctets, 17);
    refused(r#"{"total_size":0}}"#, TrailingOctets, 16);
    refused("{\"total_size\":0}\0", TrailingOctets, 16);
    refused_as_a_whole("{}", Key);
    // serde_json reads a struct from an array, here and for a key's value.
    assert!(serde_json::from_str::<Head>("[5,null,null,null,null,[]]").is_ok());
    refused("[5,null,null,null,null,[]]", NotAnObject, 0);
}

#[test]
fn grammar_is_strict_everywhere() {
    for (value, offset) in [
        ("NaN", 0),
        ("nan", 1),
        ("nul", 3),
        ("nulll", 4),
        ("Null", 0),
        ("True", 0),
        ("tru}", 3),
        ("fals", 4),
        ("undefined", 0),
        ("Infinity", 0),
        ("-Infinity", 1),
        ("-", 1),
        ("--1", 1),
        ("+1", 0),
        (".5", 0),
        ("1.", 2),
        ("1.e1", 2),
        ("1e", 2),
        ("1e+", 3),
        ("1ee1", 2),
        ("1.5.5", 3),
        ("01", 1),
        ("-01", 2),
        ("00", 1),
        ("0x10", 1),
        ("1_000", 1),
        ("1 2", 2),
        ("'a'", 0),
        ("\"a", 2),
        ("\"a\0\"", 2),
        ("\"a\n\"", 2),
        ("\"\t\"", 1),
        ("\"\x1f\"", 1),
        (r#""\"#, 2),
        (r#""\a""#, 2),
        (r#""\U0041""#, 2),
        (r#""\'""#, 2),
        (r#""\x41""#, 2),
        (r#""\u""#, 3),
        (r#""\u004""#, 6),
        (r#""\u00g0""#, 5),
        (r#""\u+041""#, 3),
        (r#""\u 041""#, 3),
        (r#""\ud83d\u""#, 9),
        (r#""\ud83d\ude0z""#, 12),
        (r#""\"""#, 4),
        ("[", 1),
        ("[,1]", 1),
        ("[1,]", 3),
        ("[1,,2]", 3),
        ("[1 2]", 3),
        ("[1:2]", 2),
        ("[1}", 2),
        ("]", 0),
        ("}", 0),
        ("{", 1),
        ("{,}", 1),
        ("{]", 1),
        (r#"{"a"}"#, 4),
        (r#"{"a",1}"#, 4),
        (r#"{"a":}"#, 5),
        (r#"{"a":1,}"#, 7),
        (r#"{"a":1]"#, 6),
        (r#"{"a" 1}"#, 5),
        (r#"{"a":1 "b":2}"#, 7),
        ("{a:1}", 1),
        ("{1:1}", 1),
        ("{null:1}", 1),
        ("{'a':1}", 1),
        ("/**/1", 0),
        ("1/**/", 1),
        ("//\n1", 0),
        ("#\n1", 0),
        (",", 0),
        (":", 0),
        ("\0", 0),
        ("é", 0),
    ] {
        // As the value of a known key, of an unknown one, and deep in an unknown one.
        for (before, after) in [
            (r#"{"total_size":"#, ""),
            (r#"{"total_size":0,"x":"#, ""),
            (r#"{"x":[{"y":[true,"#, ""),
        ] {
            let text = format!("{before}{value}{after}");
            refused(&text, Syntax, before.len() + offset);
            law::<Head>(text.as_bytes());
        }
    }
    refused("{", Syntax, 1);
    refused("{\0}", Syntax, 1);
    refused(r#"{"total_size":0,}"#, Syntax, 16);
    refused(r#"{,"total_size":0}"#, Syntax, 1);
    refused(r#"{"total_size":0"#, Syntax, 15);
    refused(r#"{"total_size":0]"#, Syntax, 15);
    refused(r#"{"total_size"=0}"#, Syntax, 13);
    refused(r#"{'total_size':0}"#, Syntax, 1);
    refused(r#"/* c */{"total_size":0}"#, NotAnObject, 0);
    refused(r#"{"total_size":0}//"#, TrailingOctets, 16);
}

#[test]
fn integers_are_plain_and_fit_their_key() {
    let size = |number: &str| format!(r#"{{"total_size":{number}}}"#);
    assert_eq!(head(size("18446744073709551615")).total_size, u64::MAX);
    for number in [
        "18446744073709551616",
        "184467440737095516150",
        "99999999999999999999999999999999999999999",
        "-1",
        "-0",
        "-18446744073709551615",
        "0.0",
        "1.0",
        "1.5",
        "0e0",
        "1e3",
        "1E+3",
        "1e-3",
        "1e400",
        "-1.5",
    ] {
        refused_as_a_whole(&size(number), Number);
        law::<Head>(size(number).as_bytes());
        refused_as_a_whole(&format!(r#"{{"total_size":0,"parts":[{number}]}}"#), Number);
    }
    assert_eq!(
        head(r#"{"total_size":0,"id":4294967295}"#).id,
        Some(u32::MAX)
    );
    refused_as_a_whole(r#"{"total_size":0,"id":4294967296}"#, Number);
    refused_as_a_whole(r#"{"total_size":0,"parts":[256]}"#, Number);
    refused_as_a_whole(r#"{"total_size":0,"parts":[1,2.5]}"#, Number);
}

#[test]
fn types_are_not_converted() {
    for value in ["null", "true", r#""5""#, "[5]", r#"{"a":5}"#, "[]", "{}"] {
        let text = format!(r#"{{"total_size":{value}}}"#);
        refused_as_a_whole(&text, Type);
        law::<Head>(text.as_bytes());
    }
    for member in [
        r#""id":"5""#,
        r#""more":1"#,
        r#""more":"true""#,
        r#""name":5"#,
        r#""op":5"#,
        r#""parts":null"#,
    ] {
        let text = format!(r#"{{"total_size":0,{member}}}"#);
        refused_as_a_whole(&text, Type);
        law::<Head>(text.as_bytes());
    }
    for member in [
        r#""id":null"#,
        r#""more":null"#,
        r#""name":null"#,
        r#""op":null"#,
    ] {
        assert_eq!(
            head(format!(r#"{{"total_size":0,{member}}}"#)),
            Head::default()
        );
    }
    refused_as_a_whole(r#"{"total_size":0,"op":{"echo":5}}"#, Type);
    assert_eq!(
        head(r#"{"total_size":0,"op":{"echo":null}}"#).op,
        Some(Op::Echo)
    );
}

#[test]
fn keys_are_there_once_and_their_values_fit() {
    for text in [
        r#"{"total_size":0,"total_size":0}"#,
        r#"{"total_size":0,"total\u005fsize":0}"#,
        r#"{"\u0074otal_size":0,"tota\u006C_size":0}"#,
        r#"{"total_size":0,"id":null,"id":1}"#,
        r#"{"id":1}"#,
        r#"{"Total_Size":1}"#,
        r#"{"total_size ":1}"#,
        r#"{"total_size\u0000":1}"#,
        r#"{"":1}"#,
        r#"{"x":{"total_size":1}}"#,
        r#"{"total_size":0,"op":"Echo"}"#,
        r#"{"total_size":0,"op":""}"#,
        r#"{"total_size":0,"name":"0123456789abc"}"#,
        r#"{"total_size":0,"name":"0123456789\u00e9\""}"#,
        r#"{"total_size":0,"parts":[1,2,3,4,5]}"#,
    ] {
        refused_as_a_whole(text, Key);
        law::<Head>(text.as_bytes());
    }
    let twice = head(r#"{"x":1,"total_size":3,"x":2,"name":"0123456789\u00e9","parts":[1,2,3,4]}"#);
    assert_eq!(twice.name.as_deref(), Some("0123456789é"));
}

#[test]
fn nesting_is_bounded() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"a":[[{"b":"#, "}]]}]")] {
        let text = |levels: usize| {
            let times = levels / close.len();
            format!(
                r#"{{"x":{}1{},"total_size":1}}"#,
                open.repeat(times),
                close.repeat(times)
            )
        };
        // 30 is the most below 32 that all three ways come to; the header's own object is one level more.
        assert_eq!(head(text(30)).total_size, 1);
        law::<Head>(text(30).as_bytes());
        law::<Head>(text(40).as_bytes());
        assert_eq!(decode::<Head>(text(40)).unwrap_err().kind, TooDeep);
        assert_eq!(decode::<Head>(text(MANY)).unwrap_err().kind, TooDeep);
    }
    let brackets = |levels: usize| {
        format!(
            r#"{{"x":{}{},"total_size":1}}"#,
            "[".repeat(levels),
            "]".repeat(levels)
        )
    };
    assert_eq!(head(brackets(MAX_DEPTH - 1)).total_size, 1);
    refused(brackets(MAX_DEPTH), TooDeep, 5 + MAX_DEPTH - 1);
    refused(
        format!(r#"{{"x":{}"#, "[".repeat(MANY)),
        TooDeep,
        5 + MAX_DEPTH - 1,
    );
    refused("[".repeat(MANY), NotAnObject, 0);
    refused("{\"\":".repeat(MANY), TooDeep, 4 * MAX_DEPTH);
    // Closed brackets do not count.
    let wide = format!(
        r#"{{"x":[{}[]],"total_size":1}}"#,
        "[[]],{\"a\":{}},".repeat(MANY / 10)
    );
    assert_eq!(head(wide).total_size, 1);
}

#[test]
fn only_utf8_is_text() {
    let bad: [(&[u8], usize); 17] = [
        (b"\x80", 0), // a continuation octet alone
        (b"a\xbf", 1),
        (b"\xc3", 0), // cut short by the quote
        (b"\xe6\xb5", 0),
        (b"\xf0\x9f\x98", 0),
        (b"\xc0\x80", 0), // overlong
        (b"\xc1\xbf", 0),
        (b"\xe0\x9f\xbf", 0),
        (b"\xf0\x8f\xbf\xbf", 0),
        (b"\xed\xa0\x80", 0), // surrogates
        (b"\xed\xbf\xbf", 0),
        (b"\xf4\x90\x80\x80", 0), // above U+10FFFF
        (b"\xf5\x80\x80\x80", 0),
        (b"\xf8\x88\x80\x80\x80", 0),
        (b"\xfe", 0),
        (b"\xff", 0),
        (b"\xb2\xe2\xca\xd4", 0), // GBK
    ];
    for (octets, offset) in bad {
        for (before, after) in [
            (r#"{"total_size":0,"name":""#, r#""}"#),
            (r#"{"total_size":0,"x":""#, r#""}"#),
            (r#"{"total_size":0,"x":{""#, r#"":0}}"#),
            (r#"{"total_size":0,""#, r#"":0}"#),
            (r#"{"total_size":0,"name":""#, ""),
        ] {
            let text = [before.as_bytes(), octets, after.as_bytes()].concat();
            refused(&text, NotUtf8, before.len() + offset);
            law::<Head>(&text);
        }
    }
    refused(b"\xff{}", NotUtf8, 0);
    refused(b"{\"total_size\":0}\xff", NotUtf8, 16);
    refused(b"{\"total_size\":0} \xff", NotUtf8, 17);
    refused(b"{\"total_size\":\xff}", NotUtf8, 14);
    refused(b"{\"x\":tr\xff}", NotUtf8, 7);
    // The first octet to blame counts.
    refused(b"{\"total_size\":01,\"x\":\"\xff\"}", Syntax, 15);
    refused(b"{\"total_size\":0}}\xff", TrailingOctets, 16);
    refused(b"{\"\\ud800\xff\":0}", LoneSurrogate, 2);
    refused(b"[\xff", NotAnObject, 0);
    // UTF-16 and UTF-32.
    refused(b"\xff\xfe{\0}\0", NotUtf8, 0);
    refused(b"{\0}\0", Syntax, 1);
    refused(b"\0\0\0{\0\0\0}", NotAnObject, 0);
}

#[test]
fn half_a_surrogate_pair_is_refused_everywhere() {
    for (string, offset) in [
        (r"\ud83d", 0),
        (r"\ude00", 0),
        (r"ab\uD800", 2),
        (r"\ude00\ud83d", 0),
        (r"\ud83d\ud83d\ude00", 0),
        (r"\ud83d\ude00\ude00", 12),
        (r"\ud83d\n", 0),
        (r"\ud83d\\ude00", 0),
        (r"\ud83d\u0041", 0),
        (r"\ud83d\ue000", 0),
        (r"\ud83d\udbff", 0),
        (r"\ud83dx", 0),
        (r"\udfff", 0),
    ] {
        for (before, after) in [
            (r#"{"total_size":0,"name":""#, r#""}"#),
            (r#"{"total_size":0,"x":""#, r#""}"#),
            (r#"{"total_size":0,"x":[{""#, r#"":0}]}"#),
            (r#"{"total_size":0,""#, r#"":0}"#),
        ] {
            let text = format!("{before}{string}{after}");
            refused(&text, LoneSurrogate, before.len() + offset);
            law::<Head>(text.as_bytes());
        }
    }
    refused(r#"{"\ud83d"#, LoneSurrogate, 2);
    refused(r#"{"\ud83d\"#, LoneSurrogate, 2);
    refused(r#"{"\ud83d\u"#, Syntax, 10);
}

#[test]
fn minus_zero_is_zero_for_a_signed_integer() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Signed {
        exit: i32,
    }
    let decoded =
        |number: &str| decode(format!(r#"{{"exit":{number}}}"#)).map(|Signed { exit }| exit);
    assert_eq!(decoded("-0"), Ok(0));
    assert!(serde_json::from_str::<Signed>(r#"{"exit":-0}"#).is_err());
    assert_eq!(decoded("-2147483648"), Ok(i32::MIN));
    for number in [
        "-2147483648",
        "2147483647",
        "-2147483649",
        "2147483648",
        "-0.0",
        "-0e0",
        "-1",
        "0",
        "-1.0",
    ] {
        law::<Signed>(format!(r#"{{"exit":{number}}}"#).as_bytes());
    }
}

#[test]
fn other_types_of_header() {
    // serde_json reads the inner struct from an array as well.
    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        inner: Inner,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        pair: (u8, i64),
    }
    law::<Outer>(br#"{"inner":{"pair":[1,-2]}}"#);
    law::<Outer>(br#"{"inner":{"pair":[1]}}"#);
    law::<Outer>(br#"{"inner":{"pair":[1,2,3]}}"#);
    law::<Outer>(br#"{"inner":{"pair":[1,2.5]}}"#);
    assert!(serde_json::from_str::<Outer>(r#"{"inner":[[1,2]]}"#).is_ok());
    assert_eq!(
        decode::<Outer>(r#"{"inner":[[1,2]]}"#).unwrap_err().kind,
        Type
    );
    // What serde-json-core cannot read at all is refused, whatever the text.
    assert_eq!(decode::<serde_json::Value>("{}").unwrap_err().kind, Type);
    assert_eq!(decode::<u64>("{}").unwrap_err().kind, Type);
}

#[test]
fn a_short_scratch_is_an_error_and_never_a_panic() {
    let text = br#"{"total_size":1,"\n":"\u0007\"","name":"\\\u0000\u00e9"}"#;
    let expected = head(text);
    for len in 0..text.len() {
        match json::decode::<Head>(&mut text.to_vec(), &mut vec![0xFF; len]) {
            Ok(head) => assert_eq!(head, expected),
            Err(error) => assert_eq!((error.kind, error.offset), (Key, text.len() as u32)),
        }
    }
    assert!(json::decode::<Head>(&mut text.to_vec(), &mut []).is_err());
    assert!(
        json::decode::<Head>(
            &mut br#"{"total_size":1,"name":"\u00e9"}"#.to_vec(),
            &mut []
        )
        .is_ok()
    );
}

#[test]
fn errors_speak_plainly() {
    let error = decode::<Head>(r#"{"total_size":01}"#).unwrap_err();
    assert_eq!(error.to_string(), "header: not valid JSON (octet 15)");
}

// ---------------------------------------------------------------------------------------------------------------
// Everything near a few headers.

const HEADERS: [&str; 4] = [
    r#"{"total_size":10,"id":1}"#,
    r#"{"op": "put", "name": "\u00e9\ud83d\ude00\n", "total_size": 0}"#,
    "{ \"x\" : [ null , { \"é\" : \"\\\\\" } , -1.5e+3 ] ,\n\"more\":false,\"total_size\":7 }",
    r#"{"total\u005fsize":18446744073709551615,"parts":[0,255],"":{"":"\/"}}"#,
];

#[test]
fn every_truncation() {
    for text in HEADERS.map(str::as_bytes) {
        head(text);
        for len in 0..text.len() {
            law::<Head>(&text[..len]);
            let error = decode::<Head>(&text[..len]).unwrap_err();
            match error.kind {
                NotAnObject | Syntax => assert_eq!(error.offset as usize, len),
                NotUtf8 => assert!((1..4).contains(&(len - error.offset as usize))),
                LoneSurrogate => assert!((6..8).contains(&(len - error.offset as usize))),
                kind => panic!("{kind:?} for {}", text[..len].escape_ascii()),
            }
        }
    }
}

#[test]
fn every_octet_replaced_removed_or_added() {
    let octets: Vec<u8> = if cfg!(miri) {
        b"\"\\,0\xff".to_vec()
    } else {
        (0..=u8::MAX).collect()
    };
    for text in HEADERS.map(str::as_bytes) {
        for at in 0..text.len() {
            law::<Head>(&[&text[..at], &text[at + 1..]].concat());
            for &octet in &octets {
                law::<Head>(&[&text[..at], &[octet], &text[at + 1..]].concat());
                law::<Head>(&[&text[..at], &[octet], &text[at..]].concat());
            }
            if cfg!(miri) && at > 4 {
                break;
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Properties.

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 4 } else { cases },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// One character as JSON may spell it.
fn spelled(character: char, style: u8) -> String {
    let units = |upper: bool| {
        let mut pair = [0; 2];
        let units = character.encode_utf16(&mut pair).iter();
        units
            .map(|unit| {
                if upper {
                    format!("\\u{unit:04X}")
                } else {
                    format!("\\u{unit:04x}")
                }
            })
            .collect()
    };
    match (style, character) {
        (0, _) => units(false),
        (1, _) => units(true),
        (2, '/') => r"\/".into(),
        (2, '\x08') => r"\b".into(),
        (2, '\x0c') => r"\f".into(),
        (2, '\n') => r"\n".into(),
        (2, '\r') => r"\r".into(),
        (2, '\t') => r"\t".into(),
        (_, '"' | '\\') => format!("\\{character}"),
        (_, '\0'..='\x1f') => units(false),
        _ => character.into(),
    }
}

fn spell(text: String) -> impl Strategy<Value = String> {
    prop::collection::vec(0..6_u8, text.chars().count()).prop_map(move |styles| {
        let spelled: String = text
            .chars()
            .zip(styles)
            .map(|(character, style)| spelled(character, style))
            .collect();
        format!("\"{spelled}\"")
    })
}

fn string() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => any::<char>(),
        4 => prop::char::range(' ', '~'),
        1 => prop::char::range('\0', '\x1f'),
        1 => prop::sample::select(vec!['"', '\\', '/', '{', ']', '\u{7f}', '\u{ffff}', '😀']),
    ];
    prop::collection::vec(character, 0..6).prop_flat_map(|text| spell(text.into_iter().collect()))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u64>().prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        (0..300_u16).prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,22})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,4})?",
    ]
}

fn space() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "", "", " ", "\n", "\t", "\r\n  "])
}

fn join(items: Vec<(&str, String, &str)>, open: char, close: char) -> String {
    let items: Vec<String> = items
        .iter()
        .map(|(before, item, after)| format!("{before}{item}{after}"))
        .collect();
    format!("{open}{}{close}", items.join(","))
}

fn member(
    key: impl Strategy<Value = String>,
    value: impl Strategy<Value = String>,
) -> impl Strategy<Value = String> {
    (key, space(), space(), value)
        .prop_map(|(key, before, after, value)| format!("{key}{before}:{after}{value}"))
}

fn value() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec!["null", "true", "false"]).prop_map(str::to_owned);
    let leaf = prop_oneof![
        word,
        number(),
        string(),
        "\\[[ \n]{0,2}\\]",
        "\\{[ \n]{0,2}\\}"
    ]
    .boxed();
    leaf.prop_recursive(if cfg!(miri) { 2 } else { 36 }, 48, 3, |value| {
        let array = prop::collection::vec((space(), value.clone(), space()), 1..3);
        let object = prop::collection::vec((space(), member(string(), value), space()), 1..3);
        prop_oneof![
            array.prop_map(|items| join(items, '[', ']')),
            object.prop_map(|members| join(members, '{', '}')),
        ]
    })
}

/// A member with a key that `Head` knows and, most often, a value that suits it.
fn known(
    key: &'static str,
    good: impl Strategy<Value = String> + 'static,
) -> impl Strategy<Value = String> {
    member(spell(key.into()), prop_oneof![12 => good, 1 => value()])
}

fn header() -> impl Strategy<Value = String> {
    let size = known("total_size", any::<u64>().prop_map(|size| size.to_string()));
    let other = prop_oneof![
        known("id", any::<u32>().prop_map(|id| id.to_string())),
        known("name", string()),
        known("more", any::<bool>().prop_map(|more| more.to_string())),
        known(
            "op",
            prop::sample::select(vec!["echo", "put"]).prop_flat_map(|op| spell(op.into()))
        ),
        known(
            "parts",
            prop::collection::vec(any::<u8>(), 0..5).prop_map(|parts| format!("{parts:?}"))
        ),
        member(string(), value()),
        member(string(), value()),
    ];
    let others = prop::collection::vec((space(), other, space()), 0..5);
    (
        others,
        (space(), size, space()),
        any::<prop::sample::Index>(),
        space(),
        space(),
    )
        .prop_map(|(mut members, size, at, before, after)| {
            members.insert(at.index(members.len() + 1), size);
            format!("{before}{}{after}", join(members, '{', '}'))
        })
}

/// What may happen to a text on its way.
#[derive(Debug, Clone)]
enum Edit {
    Replace(u8),
    Insert(&'static str),
    Remove(usize),
    Repeat(usize),
    Swap(usize),
}

fn edit() -> impl Strategy<Value = (prop::sample::Index, Edit)> {
    let tokens = vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u",
        "\\ud83d",
        "\\ude00",
        "0",
        "-",
        "e",
        ".",
        "null",
        " ",
        "\0",
        "\u{feff}",
        "é",
        "\"total_size\":1,",
        "\"x\":",
        "[[[[[[[[[[[[[[[[",
        "]]]]]]]]]]]]]]]]",
    ];
    let edit = prop_oneof![
        any::<u8>().prop_map(Edit::Replace),
        prop::sample::select(tokens).prop_map(Edit::Insert),
        (1..12_usize).prop_map(Edit::Remove),
        (1..40_usize).prop_map(Edit::Repeat),
        (1..12_usize).prop_map(Edit::Swap),
    ];
    (any::<prop::sample::Index>(), edit)
}

fn edited(mut text: Vec<u8>, edits: Vec<(prop::sample::Index, Edit)>) -> Vec<u8> {
    for (at, edit) in edits {
        let at = at.index(text.len() + 1);
        let until = |len: usize| (at + len).min(text.len());
        match edit {
            Edit::Replace(octet) => drop(text.splice(at..until(1), [octet])),
            Edit::Insert(token) => drop(text.splice(at..at, token.bytes())),
            Edit::Remove(len) => drop(text.drain(at..until(len))),
            Edit::Repeat(len) => {
                let part = text[at..until(len)].to_vec();
                text.splice(at..at, part);
            }
            Edit::Swap(len) => {
                let end = until(len);
                text[at..end].reverse();
            }
        }
    }
    text
}

proptest! {
    #![proptest_config(config(1024))]

    #[test]
    fn valid_json_is_read_as_serde_json_reads_it(text in header()) {
        prop_assert!(serde_json::from_str::<IgnoredAny>(&text).is_ok());
        law::<Head>(text.as_bytes());
    }

    #[test]
    fn damaged_json_is_judged_as_serde_json_judges_it(
        text in header(),
        edits in prop::collection::vec(edit(), 1..4),
    ) {
        law::<Head>(&edited(text.into_bytes(), edits));
    }

    #[test]
    fn any_octets_are_judged_as_serde_json_judges_them(text in prop::collection::vec(any::<u8>(), 0..64)) {
        law::<Head>(&text);
        law::<Head>(&[br#"{"total_size":1,"name":""#, &text[..], br#""}"#].concat());
    }

    #[test]
    fn what_is_written_is_valid_and_read_back(
        total_size: u64,
        id: Option<u32>,
        more: Option<bool>,
        op in prop::sample::select(vec![None, Some(Op::Echo), Some(Op::Put)]),
        name in prop::option::of(prop::collection::vec(any::<char>(), 0..4)),
        parts in prop::collection::vec(any::<u8>(), 0..5),
    ) {
        let name = name.map(|name| heapless::String::try_from(&*name.iter().collect::<String>()).unwrap_or_default());
        let parts = heapless::Vec::from_slice(&parts).unwrap();
        let head = Head { total_size, op, id, name, more, parts };
        written(&head);
    }

    #[test]
    fn any_string_is_written_as_json(text in prop_oneof![any::<String>(), "[\\x00-\\x7f]{0,40}"]) {
        let mut out = vec![0; 16 + 6 * text.len()];
        let len = json::encode(&Text { text: &text }, &mut out).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out[..len]).unwrap();
        prop_assert_eq!(value["text"].as_str(), Some(&*text));
    }
}

#[derive(Serialize)]
struct Text<'a> {
    text: &'a str,
}

#[track_caller]
fn written(head: &Head) {
    let mut out = [0xFF; 256];
    let len = json::encode(head, &mut out).unwrap();
    assert_eq!(serde_json::from_slice::<Head>(&out[..len]).unwrap(), *head);
    assert_eq!(decode::<Head>(&out[..len]).unwrap(), *head);
    // It fits exactly, and in nothing less.
    assert_eq!(json::encode(head, &mut vec![0; len]), Ok(len));
    for short in 0..len {
        assert_eq!(
            json::encode(head, &mut vec![0; short]),
            Err(EncodeError::BufferTooSmall)
        );
    }
}

#[test]
fn every_ascii_character_is_written_as_json() {
    for octet in (0..=0x7F_u8).step_by(if cfg!(miri) { 9 } else { 1 }) {
        let name = [octet, b'a', octet];
        let name = heapless::String::try_from(str::from_utf8(&name).unwrap()).unwrap();
        written(&Head {
            name: Some(name),
            ..Head::default()
        });
    }
}
