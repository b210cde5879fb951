//! Evaluation figures: top-1, top-5 and their accumulators.
