//! A full disk: one clear error, no half-written file, and `--resume` goes on once there is room.
use std::path::Path;
use std::process::Command;

use crate::support::{Place, refused, succeeds};

/// A small file system in memory, unmounted at the end.
struct Disk(String);

impl Disk {
    /// Needs the right to mount.
    fn mount(path: &str, size: &str) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", path]).output();
        if output.is_ok_and(|output| output.status.success()) {
            return Some(Self(path.to_string()));
        }
        println!("skipped: no right to mount a small file system");
        None
    }

    fn enlarge(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options, &self.0]).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_full_disk_loses_nothing() {
    let place = Place::new();
    let Some(disk) = Disk::mount(&place.path("disk"), "900k") else { return };
    let (recipe, out) = (place.recipe(), place.path("disk/run"));
    // The teacher's weights and checkpoint do not fit.
    let text = refused(1, &place.distill(&out, &recipe, &["--quiet"]));
    assert!(text.contains("cannot write") && text.contains(&out) && text.contains("--resume"), "{text}");
    for file in files(Path::new(&out)) {
        let name = file.to_string_lossy().into_owned();
        assert!(!name.ends_with(".tmp"), "{name} was left behind");
        let bytes = std::fs::read(&file).unwrap();
        if name.ends_with(".safetensors") {
            // The header's length, the header, the values: all there.
            let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let index: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
            let ends = index.as_object().unwrap().values().filter_map(|tensor| tensor["data_offsets"][1].as_u64());
            assert_eq!(8 + header as u64 + ends.max().unwrap_or(0), bytes.len() as u64, "{name}");
        }
        if name.ends_with(".json") {
            serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
        }
    }
    disk.enlarge("64m");
    assert!(succeeds(&place.distill(&out, &recipe, &["--quiet", "--resume"])).contains("FAM-KD"));
}
