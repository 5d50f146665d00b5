//! The Groovy that Jenkinsfiles are written in, as far as they need it: calls, blocks, settings and texts with their lines.
//! Nothing is evaluated, and nothing is refused: what is not understood is passed over.

mod read;
mod token;
mod value;

pub(super) use self::read::read;

/// Steps in braces.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Block {
    /// The names before `->`.
    pub(super) names: Vec<String>,
    pub(super) steps: Vec<Step>,
}

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Call(Call),
    /// `name = value`, with or without `def`.
    Set {
        line: usize,
        name: String,
        value: Value,
    },
    If {
        line: usize,
        condition: String,
        then: Block,
        otherwise: Option<Block>,
    },
    /// `def name(…) { … }`.
    Function {
        name: String,
        block: Block,
    },
}

/// `name(arguments) { block }`, brackets or not.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Call {
    pub(super) line: usize,
    /// With dots: `docker.build`.
    pub(super) name: String,
    pub(super) args: Vec<(Option<String>, Value)>,
    pub(super) block: Option<Block>,
    /// What it is called on, where that is not a name.
    pub(super) of: Option<Box<Value>>,
}

/// What stands where a value is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A text, variables in it as `${NAME}`, and the line of its first character.
    Text(String, usize),
    /// A variable, with dots.
    Name(String),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
    Call(Box<Call>),
    Block(Block),
    /// Something that would have to be computed.
    Other,
}

impl Value {
    /// As a text, where it is one.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text, _) => Some(text.clone()),
            Self::Name(name) => Some(format!("${{{}}}", plain(name))),
            _ => None,
        }
    }
}

impl Call {
    /// An argument by name; of several arguments without one, the nth.
    pub(super) fn arg(&self, name: &str, nth: usize) -> Option<&Value> {
        let named = self.args.iter().find(|(n, _)| n.as_deref() == Some(name));
        let nth = self.args.iter().filter(|(n, _)| n.is_none()).nth(nth);
        named.or(nth).map(|(_, value)| value)
    }

    /// The same, as a text.
    pub(super) fn text(&self, name: &str, nth: usize) -> Option<String> {
        self.arg(name, nth).and_then(Value::text)
    }

    /// An argument by name alone.
    pub(super) fn named(&self, name: &str) -> Option<&Value> {
        self.args.iter().find(|(n, _)| n.as_deref() == Some(name)).map(|(_, value)| value)
    }
}

/// A variable's name without the words that say where it is from.
fn plain(name: &str) -> &str {
    ["env.", "params.", "this.", "script."].iter().find_map(|word| name.strip_prefix(word)).unwrap_or(name)
}
