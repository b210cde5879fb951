//! `run.json`: which program ran where.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Versions, seed, device and machine of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Version of this program.
    pub version: String,
    /// Version of the tensor library.
    pub burn: String,
    /// The recipe's seed, the first of several.
    pub seed: u64,
    /// All of several seeds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<u64>,
    /// Compute device.
    pub device: String,
    /// Threads of the CPU work.
    pub threads: usize,
    /// Processor name as the system reports it.
    pub processor: String,
    /// Memory in MiB, if the system reports it.
    pub memory_mib: Option<u64>,
    /// Operating system and architecture.
    pub system: String,
    /// Seconds since 1970 at which the run (or its last continuation) began.
    pub started: u64,
    /// How often the run was continued.
    pub resumed: usize,
    /// SHA-256 of each weight, prompt and token file that the recipe names, by its path there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

impl RunInfo {
    /// Describes this process, with one seed.
    pub fn new(seed: u64, device: &burn::prelude::Device, resumed: usize) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            burn: "0.22.1".into(),
            seed,
            seeds: Vec::new(),
            device: device_name(device),
            threads: rayon::current_num_threads(),
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            memory_mib: field("/proc/meminfo", "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .map(|kib| kib / 1024),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            started: now.map_or(0, |time| time.as_secs()),
            resumed,
            files: BTreeMap::new(),
        }
    }
}

/// A device without the library's wrapping: `Flex(Cpu)`.
pub(crate) fn device_name(device: &burn::prelude::Device) -> String {
    let text = format!("{device:?}");
    text.strip_prefix("Device<").and_then(|t| t.strip_suffix('>')).map_or(text.clone(), str::to_string)
}

/// The value after `name :` in one of Linux' information files; other systems have none.
fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_string())
}
