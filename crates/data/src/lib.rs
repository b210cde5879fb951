//! Image data sets, augmentation and the deterministic parallel loader.
