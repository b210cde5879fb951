//! Fetching and unpacking published archives, with progress and checksum.

use crate::DataError;
use crate::md5::Md5;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How far a download is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The address.
    pub url: String,
    /// Bytes received.
    pub done: u64,
    /// Bytes in all, when the server tells.
    pub total: Option<u64>,
}

/// A published archive.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    pub url: String,
    /// The archive's file name.
    pub file: &'static str,
    pub md5: &'static str,
    /// The folder it unpacks to.
    pub folder: &'static str,
}

/// Where data sets are kept when no path is given: `SUBBAND_CACHE`, or `subband` in the user's cache folder.
pub fn cache_folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    variable("SUBBAND_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|p| p.join("subband")))
        .or_else(|| variable("HOME").map(|p| p.join(".cache").join("subband")))
        .or_else(|| variable("LOCALAPPDATA").map(|p| p.join("subband")))
        .unwrap_or_else(|| std::env::temp_dir().join("subband"))
}

impl Archive {
    /// Makes `<into>/<folder>` exist: unpacks `<into>/<file>` when it lies there, else downloads it first.
    pub fn provide(&self, into: &Path, download: bool, progress: &mut dyn FnMut(Progress)) -> Result<(), DataError> {
        let file = into.join(self.file);
        if !file.is_file() {
            if !download {
                let remedy = format!("put {} there, or set `download = true` under [data]", self.file);
                return Err(DataError::MissingFolder { path: into.join(self.folder), remedy });
            }
            std::fs::create_dir_all(into).map_err(|e| DataError::io("create", into, e))?;
            self.fetch(&file, progress)?;
        }
        self.verify(&file)?;
        self.unpack(&file, into)
    }

    /// Downloads to `<file>.part`, then renames, so that a broken download is never taken for the file.
    fn fetch(&self, file: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(), DataError> {
        let part = file.with_extension("part");
        let result = self.fetch_part(file, &part, progress);
        if result.is_err() {
            // The first error is the one to report.
            let _ = std::fs::remove_file(&part);
        }
        result
    }

    fn fetch_part(&self, file: &Path, part: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(), DataError> {
        let fail = |e: &dyn std::fmt::Display| DataError::Download {
            url: self.url.clone(),
            reason: e.to_string(),
            put: file.to_path_buf(),
        };
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .build()
            .into();
        let response = agent.get(&self.url).call().map_err(|e| fail(&e))?;
        let total = response.body().content_length();
        let mut reader = response.into_body().into_reader();
        let mut out = File::create(part).map_err(|e| DataError::io("write", part, e))?;
        let (mut buffer, mut done, mut told) = (vec![0; 1 << 16], 0, 0);
        loop {
            let n = reader.read(&mut buffer).map_err(|e| fail(&e))?;
            if n > 0 {
                out.write_all(&buffer[..n]).map_err(|e| DataError::io("write", part, e))?;
                done += n as u64;
            }
            if n == 0 || done >= told + (1 << 20) {
                told = done;
                progress(Progress { url: self.url.clone(), done, total });
            }
            if n == 0 {
                break;
            }
        }
        if total.is_some_and(|t| t != done) {
            return Err(fail(&format!("the connection ended after {done} bytes")));
        }
        std::fs::rename(part, file).map_err(|e| DataError::io("write", file, e))
    }

    fn verify(&self, path: &Path) -> Result<(), DataError> {
        let fail = |e| DataError::io("read", path, e);
        let (mut file, mut md5, mut buffer) = (File::open(path).map_err(fail)?, Md5::new(), vec![0; 1 << 16]);
        loop {
            match file.read(&mut buffer).map_err(fail)? {
                0 => break,
                n => md5.update(&buffer[..n]),
            }
        }
        let found = md5.finish();
        if found == self.md5 {
            return Ok(());
        }
        Err(DataError::Checksum { path: path.to_path_buf(), found, expected: self.md5.to_string() })
    }

    /// Unpacks beside the target, then renames, so that a half-unpacked folder is never taken for the data set.
    fn unpack(&self, file: &Path, into: &Path) -> Result<(), DataError> {
        let work = into.join(format!(".unpacking-{}-{}", self.folder, std::process::id()));
        let result = self.unpack_to(file, &work, &into.join(self.folder));
        // Leaving it behind would only waste space; the first error is the one to report.
        let _ = std::fs::remove_dir_all(&work);
        result
    }

    fn unpack_to(&self, file: &Path, work: &Path, target: &Path) -> Result<(), DataError> {
        let source = File::open(file).map_err(|e| DataError::io("read", file, e))?;
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::io::BufReader::new(source)));
        archive.unpack(work).map_err(|e| DataError::io("unpack", file, e))?;
        let unpacked = work.join(self.folder);
        if !unpacked.is_dir() {
            let reason = format!("the archive holds no folder {}", self.folder);
            return Err(DataError::Format { path: file.to_path_buf(), reason });
        }
        std::fs::rename(&unpacked, target).map_err(|e| DataError::io("write", target, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn archive_bytes() -> Vec<u8> {
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        builder.append_data(&mut header, "things/a.txt", &b"hello"[..]).unwrap();
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn archive(url: String, bytes: &[u8]) -> Archive {
        let mut md5 = Md5::new();
        md5.update(bytes);
        Archive { url, file: "things.tar.gz", md5: md5.finish().leak(), folder: "things" }
    }

    /// Answers one request with `body`, announcing `announced` bytes.
    fn serve(status: &'static str, body: Vec<u8>, announced: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = socket.read(&mut request).unwrap();
            write!(socket, "HTTP/1.1 {status}\r\nContent-Length: {announced}\r\nConnection: close\r\n\r\n").unwrap();
            socket.write_all(&body).unwrap();
        });
        format!("http://{address}/things.tar.gz")
    }

    #[test]
    fn a_download_is_checked_unpacked_and_reported() {
        let (into, bytes) = (tempfile::tempdir().unwrap(), archive_bytes());
        let archive = archive(serve("200 OK", bytes.clone(), bytes.len()), &bytes);
        let mut last = None;
        archive.provide(&into.path().join("new"), true, &mut |p| last = Some(p)).unwrap();
        assert_eq!(std::fs::read(into.path().join("new/things/a.txt")).unwrap(), b"hello");
        let last = last.unwrap();
        assert_eq!((last.done, last.total), (bytes.len() as u64, Some(bytes.len() as u64)));
        let names: Vec<_> =
            std::fs::read_dir(into.path().join("new")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn failures_say_where_to_put_the_file_and_leave_nothing() {
        let bytes = archive_bytes();
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            format!("http://{}/x", listener.local_addr().unwrap())
        };
        let urls = [closed, serve("404 Not Found", vec![], 0), serve("200 OK", bytes[..40].to_vec(), bytes.len())];
        for url in urls {
            let into = tempfile::tempdir().unwrap();
            let error = archive(url, &bytes).provide(into.path(), true, &mut |_| {}).unwrap_err();
            assert!(matches!(error, DataError::Download { .. }), "{error}");
            assert!(error.to_string().contains("things.tar.gz"), "{error}");
            assert_eq!(std::fs::read_dir(into.path()).unwrap().count(), 0);
        }
        let into = tempfile::tempdir().unwrap();
        let error =
            archive("http://127.0.0.1:1/x".into(), &bytes).provide(into.path(), false, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("download = true"), "{error}");
    }

    #[test]
    fn a_file_put_there_is_used_and_a_damaged_one_refused() {
        let (into, bytes) = (tempfile::tempdir().unwrap(), archive_bytes());
        let archive = archive("http://127.0.0.1:1/x".into(), &bytes);
        std::fs::write(into.path().join("things.tar.gz"), &bytes[1..]).unwrap();
        let error = archive.provide(into.path(), true, &mut |_| {}).unwrap_err();
        assert!(matches!(error, DataError::Checksum { .. }) && error.to_string().contains("things.tar.gz"), "{error}");
        std::fs::write(into.path().join("things.tar.gz"), &bytes).unwrap();
        archive.provide(into.path(), false, &mut |_| {}).unwrap();
        assert!(into.path().join("things/a.txt").is_file());
    }
}
