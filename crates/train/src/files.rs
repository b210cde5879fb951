//! Files that are either complete or absent.
//!
//! A file is written under a temporary name in its own folder, flushed to the disk and renamed over its final name.
//! A crash or a full disk at any moment leaves the old file (or none) and at worst a `.tmp` beside it, which the next
//! write replaces.
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::TrainError;

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Writes `bytes` to `path` so that the file is never seen half-written.
///
/// # Errors
/// [`TrainError::Write`] with the system's reason (disk full, no permission, missing folder); the temporary file is removed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    write_atomic_with(path, |temporary| {
        let mut file = File::create(temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    })
}

/// Like [`write_atomic`], with the temporary file written by `write`, which is given its path.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_atomic_with(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), TrainError> {
    let temporary = temporary(path);
    let outcome = write(&temporary).and_then(|()| fs::rename(&temporary, path)).and_then(|()| sync_folder(path));
    outcome.map_err(|source| {
        // The write already failed; a leftover that cannot be removed either is harmless.
        let _ = fs::remove_file(&temporary);
        TrainError::Write { path: path.to_path_buf(), source }
    })
}

/// Flushes the folder's entry of the file, so that the rename itself survives a power cut.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    let _ = path;
    Ok(())
}

/// Creates a folder and its parents.
///
/// # Errors
/// [`TrainError::Write`].
pub fn create_folder(path: &Path) -> Result<(), TrainError> {
    fs::create_dir_all(path).map_err(|source| TrainError::Write { path: path.to_path_buf(), source })
}

/// Reads a whole file.
///
/// # Errors
/// [`TrainError::Read`].
pub fn read(path: &Path) -> Result<Vec<u8>, TrainError> {
    fs::read(path).map_err(|source| TrainError::Read { path: path.to_path_buf(), source })
}

/// SHA-256 of a file's bytes, 64 hexadecimal digits.
///
/// # Errors
/// [`TrainError::Read`].
pub fn hash(path: &Path) -> Result<String, TrainError> {
    let fail = |source| TrainError::Read { path: path.to_path_buf(), source };
    let mut hash = Sha256::new();
    std::io::copy(&mut File::open(path).map_err(fail)?, &mut hash).map_err(fail)?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_rubbish() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_atomic(&path, b"old").unwrap();
        let full = write_atomic_with(&path, |temporary| {
            fs::write(temporary, b"ne")?;
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
        });
        assert!(full.unwrap_err().to_string().contains("a.json"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = write_atomic(Path::new("/nonexistent-folder/x"), b"").unwrap_err().to_string();
        assert!(error.contains("/nonexistent-folder/x"), "{error}");
    }
}
