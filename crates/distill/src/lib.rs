//! Distillation methods: classical and frequency-domain, with their adapters.
