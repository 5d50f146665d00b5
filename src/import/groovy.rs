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

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Step {
        let mut steps = read(text).steps;
        assert_eq!(steps.len(), 1, "{text}: {steps:?}");
        steps.remove(0)
    }

    fn call(text: &str) -> Call {
        match only(text) {
            Step::Call(call) => call,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn calls_are_the_same_with_brackets_and_without() {
        for text in [
            "sh 'x'",
            "sh('x')",
            "sh script: 'x'",
            "sh(script: 'x', label: 'y')",
            "sh(\n  label: 'y',\n  script: 'x'\n)",
        ] {
            let call = call(text);
            assert_eq!((call.name.as_str(), call.text("script", 0).as_deref()), ("sh", Some("x")), "{text}");
        }
        let chained = call("docker\n  .image('a')\n  .inside('-u root') { sh 'x' }");
        assert_eq!((chained.name.as_str(), chained.block.expect("a block").steps.len()), ("inside", 1));
        let list = call("withCredentials([string(credentialsId: 'a', variable: 'B'), [c: 'd']]) { }");
        assert!(matches!(&list.args[0].1, Value::List(all) if all.len() == 2), "{list:?}");
        assert_eq!(call("node('a') { b 'c'; d() }").block.expect("a block").steps.len(), 2);
    }

    #[test]
    fn settings_hold_texts_and_what_would_be_computed_is_told_apart() {
        for (text, name, value) in [
            ("def a = 'b' + \"${c}\"", "a", Some("b${c}")),
            ("String a = env.B", "a", Some("${B}")),
            ("env.A = \"x\"", "env.A", Some("x")),
            ("a = sh(returnStdout: true, script: 'git rev-parse HEAD').trim()", "a", Some("${GIT_COMMIT}")),
            ("a = sh returnStdout: true, script: 'date'", "a", Some("${DATE}")),
            ("a = GIT_COMMIT.take(7)", "a", Some("${GIT_COMMIT:0:7}")),
            ("a = ['b', 'c'].join('-')", "a", Some("b-c")),
            ("a = b ?: 'c'", "a", Some("${b:-c}")),
            ("a = b ? 'c' : 'd'", "a", None),
        ] {
            match only(text) {
                Step::Set { name: set, value: to, .. } => {
                    assert_eq!((set.as_str(), to.text().as_deref()), (name, value), "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn branches_functions_and_loops_are_steps() {
        let text = "if (env.A == 'b' && c) { x() }\nelse if (d) y()\nelse { z() }";
        let Step::If { condition, otherwise: Some(otherwise), .. } = only(text) else { panic!("{text}") };
        assert_eq!(condition, "env.A == \"b\" && c");
        assert!(matches!(&otherwise.steps[0], Step::If { otherwise: Some(_), .. }));
        assert!(matches!(only("def f(a, b = 'c') { sh 'x' }"), Step::Function { name, .. } if name == "f"));
        let each = call("for (a in ['b', 'c']) { sh a }");
        assert_eq!((each.name.as_str(), each.block.expect("a block").names), ("each", vec!["a".to_owned()]));
    }

    #[test]
    fn what_lies_too_deep_or_has_no_end_is_passed_over() {
        for open in
            ["{", "a {", "a(", "a([", "[a: ", "if (a) ", "if (a) {", "a { b -> ", "try { ", "((", "a = b + ("]
        {
            let text = format!("x()\n{}", open.repeat(10_000));
            assert!(matches!(&read(&text).steps[0], Step::Call(call) if call.name == "x"), "{open}");
        }
        assert_eq!(read("} } x() }").steps.len(), 1);
        assert!(read("").steps.is_empty());
    }
}
