//! Starts the measuring processes, one at a time.
use std::io::Write;
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;

use super::request::Request;
use super::torch::{HOW, SCRIPT, Torch, last_line};
use crate::failure::Failure;

/// Whose measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Side {
    /// This program.
    Subband,
    /// The script.
    PyTorch,
}

impl Side {
    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subband => "Subband",
            Self::PyTorch => "PyTorch",
        }
    }
}

/// The sides that take part.
pub struct Runner {
    /// PyTorch, if there is one.
    pub torch: Option<Torch>,
    /// Threads of either side.
    pub threads: usize,
}

impl Runner {
    /// Ours, then PyTorch's.
    pub fn sides(&self) -> Vec<Side> {
        if self.torch.is_some() { vec![Side::Subband, Side::PyTorch] } else { vec![Side::Subband] }
    }

    /// Has `request` measured by a new process. `what` names it in errors.
    ///
    /// # Errors
    /// The process cannot be started, fails, or answers something else.
    pub fn measure<T: DeserializeOwned>(&self, side: Side, what: &str, request: &Request) -> Result<T, Failure> {
        let fail = |reason: String| {
            let help = if side == Side::PyTorch { format!("a PyTorch that works: {HOW}") } else { String::new() };
            Failure::failed(format!("the measurement of {what} by {} failed: {reason}", side.name()), help)
        };
        let request = serde_json::to_string(request).map_err(|error| fail(error.to_string()))?;
        let (mut command, script) = self.command(side, &request).map_err(|error| fail(error.to_string()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| fail(error.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A process that has ended does not read: its exit status says more than the broken pipe.
            let _ = stdin.write_all(script.as_bytes());
        }
        let output = child.wait_with_output().map_err(|error| fail(error.to_string()))?;
        if !output.status.success() {
            return Err(fail(format!("{}, {}", output.status, last_line(&output.stderr))));
        }
        let line = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(line.lines().last().unwrap_or_default())
            .map_err(|error| fail(format!("its answer is not understood: {error}")))
    }

    /// The program to start and its standard input.
    fn command(&self, side: Side, request: &str) -> std::io::Result<(Command, &'static str)> {
        let (mut command, script) = match (side, &self.torch) {
            (Side::PyTorch, Some(torch)) => {
                let mut command = Command::new(&torch.python);
                command.args(["-", request]);
                (command, SCRIPT)
            }
            _ => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["bench", "--worker", request]);
                (command, "")
            }
        };
        for variable in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
            command.env(variable, self.threads.to_string());
        }
        Ok((command, script))
    }
}
