//! Paths to fields of an object, in the two spellings that people bring along: JSON pointers (RFC 6901), and the part of
//! jq's paths that names fields without computing anything.
//!
//! `/spec/replicas` · `.spec.replicas` · `.metadata.annotations["example.org/x"]` · `.webhooks[].clientConfig.caBundle` ·
//! `.spec.template.spec.containers[] | select(.name == "app") | .image`. The rest of jq is refused on purpose: whoever may
//! commit a manifest writes these, and a language with loops has no bound.

use serde_json::Value;

/// Longest path, in bytes.
const BYTES_MAX: usize = 1_000;
/// Most steps of one path.
const STEPS_MAX: usize = 64;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A field of a mapping; of a list, in a pointer, the item of that number.
    Key(String),
    /// The item of that number, from 0.
    Item(usize),
    /// All items.
    All,
    /// Of the items so far, those of which the field at these keys has this value.
    Where(Vec<String>, Value),
}

/// A path that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    /// Its steps, the outermost first; one at least.
    pub steps: Vec<Step>,
}

impl FieldPath {
    /// Reads a path in either spelling.
    ///
    /// # Errors
    /// What is wrong with it, as a clause.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() > BYTES_MAX {
            return Err(format!("the path has more than {BYTES_MAX} bytes"));
        }
        let steps = match text.as_bytes().first() {
            Some(b'/') => pointer(text)?,
            Some(b'.') => Jq { rest: text }.path()?,
            _ => {
                return Err(format!(
                    "the path {text:?} begins neither with / (a JSON pointer) nor with . (jq)"
                ));
            }
        };
        match steps.len() {
            0 => Err("the path names the whole object".to_owned()),
            n if n > STEPS_MAX => Err(format!("the path has more than {STEPS_MAX} steps")),
            _ => Ok(Self { steps }),
        }
    }

    /// The keys, where the path leads through mappings alone.
    pub fn keys(&self) -> Option<Vec<&str>> {
        self.steps.iter().map(|s| if let Step::Key(key) = s { Some(key.as_str()) } else { None }).collect()
    }
}

fn pointer(text: &str) -> Result<Vec<Step>, String> {
    let parts = text.get(1..).unwrap_or_default().split('/');
    let steps = parts.map(|part| {
        let bad = part.split('~').skip(1).any(|after| !after.starts_with(['0', '1']));
        if bad {
            return Err(format!(
                "{text:?} is no JSON pointer: ~ is written ~0 there, and / within a name ~1"
            ));
        }
        Ok(Step::Key(part.replace("~1", "/").replace("~0", "~")))
    });
    steps.collect()
}

/// What is left to read of a jq path.
struct Jq<'a> {
    rest: &'a str,
}

impl Jq<'_> {
    fn path(&mut self) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        loop {
            self.skip();
            if self.rest.is_empty() {
                return Ok(steps);
            }
            if self.take("|") {
                self.skip();
                if self.take("select") {
                    steps.push(self.select()?);
                } else if !self.rest.starts_with('.') {
                    return Err(self.wrong());
                }
            } else if self.take("[") {
                steps.push(self.bracket()?);
            } else if self.take(".") {
                // `.` alone, and before a bracket, is the value itself.
                if let Some(key) = self.key()? {
                    steps.push(Step::Key(key));
                }
            } else {
                return Err(self.wrong());
            }
            // `?` is about errors, which there are none of here.
            while self.take("?") {}
        }
    }

    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, what: &str) -> bool {
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn wrong(&self) -> String {
        let at: String = self.rest.chars().take(30).collect();
        format!("at {at:?}: fields, [\"key\"], [0], [] and select(.field == \"value\") are known of jq here")
    }

    fn key(&mut self) -> Result<Option<String>, String> {
        if self.rest.starts_with('"') {
            return match self.literal()? {
                Value::String(key) => Ok(Some(key)),
                _ => Err(self.wrong()),
            };
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (key, rest) = self.rest.split_at(end);
        if key.is_empty() {
            let goes_on = rest.is_empty() || rest.starts_with(['[', ' ', '|', '?']);
            return if goes_on { Ok(None) } else { Err(self.wrong()) };
        }
        self.rest = rest;
        Ok(Some(key.to_owned()))
    }

    /// What follows `[`.
    fn bracket(&mut self) -> Result<Step, String> {
        self.skip();
        if self.take("]") {
            return Ok(Step::All);
        }
        let step = match self.literal()? {
            Value::String(key) => Step::Key(key),
            Value::Number(n) => match n.as_u64().and_then(|n| usize::try_from(n).ok()) {
                Some(n) => Step::Item(n),
                None => return Err(self.wrong()),
            },
            _ => return Err(self.wrong()),
        };
        self.skip();
        if self.take("]") { Ok(step) } else { Err(self.wrong()) }
    }

    /// What follows `select`.
    fn select(&mut self) -> Result<Step, String> {
        self.skip();
        if !self.take("(") {
            return Err(self.wrong());
        }
        let mut keys = Vec::new();
        self.skip();
        while self.take(".") {
            keys.extend(self.key()?);
        }
        self.skip();
        if keys.is_empty() || !self.take("==") {
            return Err(self.wrong());
        }
        self.skip();
        let value = self.literal()?;
        self.skip();
        if self.take(")") { Ok(Step::Where(keys, value)) } else { Err(self.wrong()) }
    }

    /// A JSON text, number or word.
    fn literal(&mut self) -> Result<Value, String> {
        let mut stream = serde_json::Deserializer::from_str(self.rest).into_iter::<Value>();
        match stream.next() {
            Some(Ok(value)) if !value.is_object() && !value.is_array() => {
                self.rest = self.rest.get(stream.byte_offset()..).unwrap_or_default();
                Ok(value)
            }
            // A number before `]` ends for this reader where no JSON document would.
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Result<Value, String> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let number = digits.parse::<u64>().map_err(|_| self.wrong())?;
        self.rest = rest;
        Ok(number.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Step {
        Step::Key(text.to_owned())
    }

    #[test]
    fn pointers_and_jq_paths_are_read() {
        let of = |text: &str| FieldPath::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).steps;
        assert_eq!(of("/spec/replicas"), [key("spec"), key("replicas")]);
        assert_eq!(
            of("/metadata/annotations/a.b~1c~0d"),
            [key("metadata"), key("annotations"), key("a.b/c~d")]
        );
        assert_eq!(of(".spec.replicas"), [key("spec"), key("replicas")]);
        assert_eq!(
            of(".metadata.annotations[\"a.b/c\"]"),
            [key("metadata"), key("annotations"), key("a.b/c")]
        );
        assert_eq!(of(".metadata.\"a b\""), [key("metadata"), key("a b")]);
        assert_eq!(of(".webhooks[0].x"), [key("webhooks"), Step::Item(0), key("x")]);
        assert_eq!(of(".webhooks[]?.clientConfig"), [key("webhooks"), Step::All, key("clientConfig")]);
        let name = Step::Where(vec!["name".into()], "app".into());
        let want = [key("containers"), Step::All, name, key("image")];
        assert_eq!(of(".containers[] | select(.name == \"app\") | .image"), want);
        assert_eq!(of(".containers[]|select(.name==\"app\").image"), want);
        assert_eq!(FieldPath::parse("/a/b").expect("path").keys(), Some(vec!["a", "b"]));
        assert_eq!(FieldPath::parse(".a[0]").expect("path").keys(), None);
    }

    #[test]
    fn what_computes_or_names_nothing_is_refused() {
        let long = format!("/{}", "a/".repeat(40));
        for bad in [
            "",
            "spec",
            ".",
            "..",
            ".a | map(.b)",
            ".a[1:2]",
            ".a[-1]",
            "/a/~2",
            ".a[\"b\"",
            "[.[]|.x]",
            ".a | range(1)",
            ".a | select(.b > 1)",
            ".a | select(.b == \"c\"",
            ".a-b",
            &"/a".repeat(600),
            &format!("{long}{long}"),
        ] {
            assert!(FieldPath::parse(bad).is_err(), "{bad}");
        }
    }
}
