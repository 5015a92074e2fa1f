//! The JSON of a config, and no more: numbers stay text. It is here because serde_json and the floats that it writes would be
//! 40 KB in every plugin, of the 100 that one may have; a plugin that reads fields of JSON takes serde_json. For the same
//! reason this crate joins the texts of its messages: `format!` would be another 3 KB.

/// A value of a config.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Boolean(bool),
    /// As it was written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    /// In the order in which it was written.
    Table(Vec<(String, Json)>),
}

/// Deeper lists and tables are refused, so that none can exhaust the stack.
const MAX_DEPTH: usize = 64;

impl Json {
    /// Reads a JSON text.
    ///
    /// # Errors
    /// What is wrong, and at which byte.
    #[inline(never)]
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(0)?;
        parser.skip_space();
        if parser.at == text.len() { Ok(value) } else { Err(parser.expected("the end")) }
    }
}

/// The parts as one text. Out of line: within each message, this would be another 6 KB.
#[inline(never)]
pub fn joined(parts: &[&str]) -> String {
    parts.concat()
}

/// The text as a JSON string.
#[inline(never)]
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            character if character < ' ' => {
                let digit = |code| char::from_digit(code, 16).unwrap_or_default();
                quoted.push_str("\\u00");
                quoted.push(digit(character as u32 / 16));
                quoted.push(digit(character as u32 % 16));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expected(&self, what: &str) -> String {
        joined(&["expected ", what, " at byte ", &self.at.to_string()])
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Takes the byte, after white space, if it is the next.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn demand(&mut self, byte: u8) -> Result<(), String> {
        if self.take(byte) { Ok(()) } else { Err(self.expected(&joined(&["`", &char::from(byte).to_string(), "`"]))) }
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > MAX_DEPTH {
            let most = MAX_DEPTH.to_string();
            return Err(self.expected(&joined(&["at most ", &most, " lists and tables in each other"])));
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.table(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn table(&mut self, depth: usize) -> Result<Json, String> {
        self.demand(b'{')?;
        let mut entries = Vec::new();
        if self.take(b'}') {
            return Ok(Json::Table(entries));
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.demand(b':')?;
            entries.push((key, self.value(depth + 1)?));
            if !self.take(b',') {
                return self.demand(b'}').map(|()| Json::Table(entries));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json, String> {
        self.demand(b'[')?;
        let mut entries = Vec::new();
        if self.take(b']') {
            return Ok(Json::List(entries));
        }
        loop {
            entries.push(self.value(depth + 1)?);
            if !self.take(b',') {
                return self.demand(b']').map(|()| Json::List(entries));
            }
        }
    }

    fn word(&mut self) -> Result<Json, String> {
        for (word, value) in [("null", Json::Null), ("true", Json::Boolean(true)), ("false", Json::Boolean(false))] {
            if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.expected("a value"))
    }

    fn number(&mut self) -> Result<Json, String> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        self.text.get(start..self.at).map(|text| Json::Number(text.to_owned())).ok_or_else(|| self.expected("a number"))
    }

    fn string(&mut self) -> Result<String, String> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a text in quotes"));
        }
        self.at += 1;
        let mut string = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let plain = rest.bytes().take_while(|byte| !matches!(byte, b'"' | b'\\')).count();
            string.push_str(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(_) => string.push(self.escaped()?),
                None => return Err(self.expected("the quote that ends a text")),
            }
        }
    }

    /// The character of an escape, which begins here.
    fn escaped(&mut self) -> Result<char, String> {
        self.at += 1;
        let byte = self.peek();
        self.at += 1;
        Ok(match byte {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte as char,
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'u') => {
                let first = self.hex()?;
                let code = if (0xd800..0xdc00).contains(&first) && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    0x1_0000 + ((first - 0xd800) << 10) + self.hex()?.wrapping_sub(0xdc00) % 0x400
                } else {
                    first
                };
                char::from_u32(code).ok_or_else(|| self.expected("a character"))?
            }
            _ => return Err(self.expected("an escape")),
        })
    }

    fn hex(&mut self) -> Result<u32, String> {
        let digits = self.text.get(self.at..self.at + 4);
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        code.ok_or_else(|| self.expected("four hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Json, quote};

    #[test]
    fn what_serde_json_takes_is_read_alike() {
        fn plain(json: &serde_json::Value) -> Json {
            match json {
                serde_json::Value::Null => Json::Null,
                serde_json::Value::Bool(value) => Json::Boolean(*value),
                serde_json::Value::Number(number) => Json::Number(number.to_string()),
                serde_json::Value::String(text) => Json::Text(text.clone()),
                serde_json::Value::Array(entries) => Json::List(entries.iter().map(plain).collect()),
                serde_json::Value::Object(entries) => {
                    Json::Table(entries.iter().map(|(key, value)| (key.clone(), plain(value))).collect())
                }
            }
        }
        for text in [
            "{}",
            " { \"a\" : [ 1 , -2.5 , null , true , false , \"\" ] , \"b\" : { } , \"c\" : [ ] } ",
            r#"{"a": "\"\\\/\n\t\r\b\f é \u00e9 \ud83d\ude00 三"}"#,
            "[[[[0.125]]]]",
        ] {
            let expected = serde_json::from_str(text).expect("JSON");
            assert_eq!(Json::parse(text), Ok(plain(&expected)), "{text}");
        }
        let text = "\"quoted\" \\ \n\t\r \u{1} é 三 \u{1f600}";
        assert_eq!(serde_json::from_str::<String>(&quote(text)).expect("JSON"), text);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\": 1",
            "{\"a\": 1,}",
            "{a: 1}",
            "[1",
            "[1 2]",
            "tru",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12",
            "\"\\u12é4\"",
            "\"\\ud800\"",
            "\"\\ud800\\u",
            "{} {}",
            "é",
        ] {
            assert!(Json::parse(text).is_err(), "{text}");
        }
        assert_eq!(Json::parse("{\"a\" 1}"), Err("expected `:` at byte 5".to_owned()));
        assert!(Json::parse(&"[".repeat(100_000)).is_err());
    }
}
