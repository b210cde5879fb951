//! The training system: recipe, plan, run with exact resume, and evidence.
