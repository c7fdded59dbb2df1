//! Where in a profile a problem is, so that the reader of the file can name its line.

use std::fmt;

/// One step further into the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    /// Into a list, from 0.
    Item(usize),
}

/// Keys and places in lists, from the top of the profile. What is missing has the place that it would have had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At(Vec<Step>);

impl At {
    pub fn key(name: &str) -> Self {
        Self(vec![Step::Key(name.to_owned())])
    }

    #[must_use]
    pub fn then(&self, name: &str) -> Self {
        self.with(Step::Key(name.to_owned()))
    }

    #[must_use]
    pub fn item(&self, number: usize) -> Self {
        self.with(Step::Item(number))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The number of the route that this is in.
    pub fn route(&self) -> Option<usize> {
        match self.0.as_slice() {
            [Step::Key(routes), Step::Item(number), ..] if routes == "routes" => Some(*number),
            _ => None,
        }
    }
}

/// `routes[2].rooms[0].id`.
impl fmt::Display for At {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(name) if number == 0 => formatter.write_str(name)?,
                Step::Key(name) => write!(formatter, ".{name}")?,
                Step::Item(item) => write!(formatter, "[{item}]")?,
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecProblem {
    pub at: At,
    pub message: String,
}
