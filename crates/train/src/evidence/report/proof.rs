//! The section that shows every part of the loss alive at step 1.
use super::read::Run;
use super::text::escape;
use crate::evidence::Proof;
use crate::table::significant;
use std::fmt::Write;

/// A table of the arms' `proof.json`; nothing where no arm has a term beside the task.
pub(super) fn proof(run: &Run) -> String {
    let proofs = run.rows.iter().filter_map(|arm| Some((arm, arm.proof.as_ref()?)));
    let rows: String = proofs.map(|(arm, proof)| rows(&arm.name, proof)).collect();
    if rows.is_empty() {
        return rows;
    }
    let seed = if run.seeds.is_empty() { "" } else { " with the first seed" };
    format!(
        "<h2>Proof that distillation is on</h2><p class=\"note\">Step 1 of every arm{seed}: each part of the loss, the norm of \
         its weighted gradient on the student’s parameters beside that of the task, and where this gradient arrives.</p>\
         <div class=\"scroll\"><table><thead><tr><th>Arm</th><th>Part</th><th>Value</th><th>Weight</th>\
         <th>Gradient to the task’s</th><th>Student taps</th><th>Student tensors reached</th></tr></thead>\
         <tbody>{rows}</tbody></table></div>"
    )
}

fn rows(arm: &str, proof: &Proof) -> String {
    let mut html = String::new();
    for part in proof.parts.iter().filter(|part| part.to_task.is_some() || proof.parts[0].name != "task") {
        let taps: Vec<&str> = part.taps.iter().map(|tap| tap.tap.as_str()).collect();
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(arm),
            escape(&part.name),
            significant(part.value),
            significant(part.weight),
            part.to_task.map_or("–".into(), significant),
            escape(&taps.join(", ")),
            escape(&part.reached.to_string()),
        );
    }
    html
}
