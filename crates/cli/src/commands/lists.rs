//! `subband methods` and `subband networks`.
use serde_json::json;
use subband_distill::method_docs;
use subband_models::network_names;

use super::{print, print_json};
use crate::args::ListArgs;
use crate::failure::Failure;

/// Lists the distillation methods.
pub fn methods(args: &ListArgs) -> Result<(), Failure> {
    let docs = method_docs();
    if args.json {
        let all: Vec<_> = docs
            .iter()
            .map(|doc| {
                json!({
                    "name": doc.name, "summary": doc.summary, "source": doc.source, "weight": doc.weight,
                    "warmup_epochs": doc.warmup_epochs, "task_weight": doc.task_weight, "taps": doc.taps,
                })
            })
            .collect();
        return print_json(&all);
    }
    let mut text = String::new();
    for doc in &docs {
        text += &format!("{:<10} {}\n{:<10} {}\n", doc.name, doc.summary, "", doc.source);
        text += &format!(
            "{:<10} reads {}; weight {}, warm-up {} epochs, task_weight {} there\n\n",
            "", doc.taps, doc.weight, doc.warmup_epochs, doc.task_weight
        );
    }
    text += "In a recipe:  [[arm]]  name = \"...\"  and below it  [[arm.term]]  method = \"NAME\"\n";
    print(&text)
}

/// Lists the networks.
pub fn networks(args: &ListArgs) -> Result<(), Failure> {
    if args.json {
        return print_json(&network_names());
    }
    let text: String = network_names().iter().map(|name| format!("{name}\n")).collect();
    print(&text)
}
