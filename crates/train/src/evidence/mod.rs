//! What a run leaves behind: metrics, results, the description of the machine, the report.
mod metrics;
mod prompts;
mod records;
pub mod report;
mod run_info;

pub use metrics::MetricsFile;
pub use prompts::{MaskPictures, PictureImage, PromptResult, PromptTap, SetMasks, TapMasks};
pub use records::{ArmResult, EpochRecord, EpochResult, MetricLine, RunSummary, Scores, StepRecord, TeacherResult};
pub use run_info::RunInfo;
pub(crate) use run_info::device_name;
