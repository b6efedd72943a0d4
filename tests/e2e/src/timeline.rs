//! What happened when, printed as it happens.

use std::time::Instant;

/// Prints a line for each thing done, with the seconds since the first; or keeps quiet.
#[derive(Debug, Clone)]
pub struct Timeline {
    start: Instant,
    loud: bool,
}

impl Timeline {
    /// Starts now, and prints.
    pub fn loud() -> Self {
        Self {
            start: Instant::now(),
            loud: true,
        }
    }

    /// Prints nothing.
    pub fn quiet() -> Self {
        Self {
            start: Instant::now(),
            loud: false,
        }
    }

    /// Says that something has been done.
    pub fn done(&self, what: &str) {
        if self.loud {
            println!("{:6.1} s  {what}", self.start.elapsed().as_secs_f64());
        }
    }
}
