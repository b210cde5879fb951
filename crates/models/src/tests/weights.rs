//! Weight files: round trips, containers, types, and every way in which a file can be bad.
use burn::prelude::*;
use burn::tensor::{DType, TensorData};

use super::{network, strings, wave};
use crate::{Mode, ModelError, StateDict, weights};

/// A folder that goes away with the test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("subband-models-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A fixture written by PyTorch (`fixtures/containers.py`).
fn fixture(name: &str) -> std::path::PathBuf {
    std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

pub(super) fn prefixed(state: &StateDict, prefix: &str) -> StateDict {
    state.iter().map(|(k, v)| (format!("{prefix}{k}"), v.clone())).collect()
}

#[test]
fn a_written_file_reads_back_bit_for_bit() {
    let (folder, device) = (Folder::new("round"), Device::flex());
    let net = network("cifar-shufflenetv2", 3, 10, &device.clone().autodiff());
    net.forward(wave([2, 3, 8, 8], 0.3, 0.0, &device), Mode::Train, &[]).unwrap();
    let path = folder.file("student.safetensors");
    weights::write_safetensors(&path, &net.state_dict()).unwrap();
    // Only the file itself is left.
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    let mut other = network("cifar-shufflenetv2", 3, 10, &device).freeze(&[]).unwrap();
    assert_ne!(other.state_dict()["bn1.running_var"].as_bytes(), net.state_dict()["bn1.running_var"].as_bytes());
    let report = other.load(&weights::read(&path).unwrap()).unwrap();
    assert_eq!(report.loaded, net.state_dict().len());
    for (name, data) in net.state_dict() {
        let again = &other.state_dict()[&name];
        assert_eq!((data.as_bytes(), data.dtype()), (again.as_bytes(), again.dtype()), "{name}");
    }
    let counter = &other.state_dict()["bn1.num_batches_tracked"];
    assert_eq!(
        (counter.dtype(), counter.shape().to_vec(), counter.iter::<i64>().next()),
        (DType::I64, vec![], Some(1))
    );
}

#[test]
fn prefixes_are_found_by_themselves() {
    let device = Device::flex();
    let source = network("cifar-resnet8", 3, 10, &device);
    let plain = source.state_dict();
    for prefix in ["", "module.", "state_dict.module.", "student.backbone.", "model."] {
        let mut state = prefixed(&plain, prefix);
        state.insert("optimizer.state.0.momentum_buffer".into(), TensorData::from([1.0f32]));
        let mut net = network("cifar-resnet8", 3, 10, &device);
        let report = net.load(&state).unwrap();
        assert_eq!((report.prefix.as_str(), report.loaded), (prefix, plain.len()));
        assert_eq!(report.outside + report.unused.len(), 1);
    }
    // Of two whole copies the shorter name wins, and the report says which it was.
    let mut both = prefixed(&plain, "model.");
    both.extend(prefixed(&plain, "model_ema."));
    let report = network("cifar-resnet8", 3, 10, &device).load(&both).unwrap();
    assert_eq!((report.prefix.as_str(), report.outside), ("model.", plain.len()));
}

#[test]
fn files_of_pytorch_in_every_container_and_type() {
    let wave = |i: usize| (0.37 * i as f64 + 0.1).sin();
    // The weight is stored as a transposed view of [3, 2, 3, 3].
    let index = |o: usize, i: usize, k: usize| (i * 2 + o) * 9 + k;
    let weight: Vec<f64> = (0..54).map(|n| wave(index(n / 27, n / 9 % 3, n % 9))).collect();
    for (name, prefix, tolerance) in [
        ("zip.pt", "", 1e-7),
        ("nested.pth", "state_dict.module.", 1e-7),
        ("legacy.th", "", 1e-7),
        ("half.pt", "", 1e-3),
        ("bfloat.safetensors", "", 8e-3),
        ("double.safetensors", "", 1e-7),
    ] {
        let state = weights::read(&fixture(name)).unwrap();
        let get = |key: &str| &state[&format!("{prefix}{key}")];
        let check = |key: &str, shape: &[usize], wanted: &[f64]| {
            let data = get(key);
            assert_eq!((data.dtype(), data.shape().to_vec()), (DType::F32, shape.to_vec()), "{name} {key}");
            assert!(super::relative(&data.iter::<f64>().collect::<Vec<_>>(), wanted) <= tolerance, "{name} {key}");
        };
        check("conv1.weight", &[2, 3, 3, 3], &weight);
        check("bn1.weight", &[2], &[wave(0), wave(1)]);
        check("bn1.running_var", &[2], &[wave(1), wave(2)]);
        let counter = get("bn1.num_batches_tracked");
        assert_eq!((counter.dtype(), counter.iter::<i64>().next()), (DType::I64, Some(41)), "{name}");
        // The optimiser's tensor of the nested file is the only other one.
        assert_eq!(state.len(), if name == "nested.pth" { 5 } else { 4 }, "{name}: {:?}", state.keys());
    }
}

#[test]
fn weights_of_another_network_are_refused_and_recognised() {
    let device = Device::flex();
    let refused = |target: &str, state: &StateDict| {
        let mut net = network(target, 3, 10, &device);
        let before = net.state_dict();
        let error = net.load(state).unwrap_err();
        assert!(net.state_dict().iter().all(|(k, v)| v.as_bytes() == before[k].as_bytes()), "half loaded");
        error.to_string()
    };
    let deep = network("cifar-resnet20", 3, 100, &device).state_dict();
    // All names of the shallow network are in the deep one's file.
    let text = refused("cifar-resnet8", &deep);
    assert!(text.contains("`cifar-resnet20` (3 input channels, 100 classes)"), "{text}");
    let text = refused("cifar-vgg8", &prefixed(&deep, "module."));
    assert!(text.contains("0 of its 37 tensors") && text.contains("block0.0.weight"), "{text}");
    assert!(text.contains("`cifar-resnet20` ("), "{text}");
    let thin = network("cifar-wrn-16-2", 3, 10, &device).state_dict();
    assert!(refused("cifar-wrn-40-2", &thin).contains("`cifar-wrn-16-2` ("));
    let odd: StateDict = [("a.weight".to_string(), TensorData::from([1.0f32]))].into();
    assert!(!refused("cifar-vgg8", &odd).contains("the file fits"));
}

#[test]
fn other_channels_and_classes_are_named_with_a_remedy() {
    let device = Device::flex();
    let state = network("cifar-resnet8", 3, 100, &device).state_dict();
    let text = network("cifar-resnet8", 1, 100, &device).load(&state).unwrap_err().to_string();
    assert!(text.contains("conv1.weight: 16x1x3x3 here, 16x3x3x3 in the file"), "{text}");
    assert!(text.contains("another number of input channels"), "{text}");
    let mut net = network("cifar-resnet8", 3, 10, &device);
    let text = net.load(&state).unwrap_err().to_string();
    assert!(text.contains("fc.weight: 10x64 here, 100x64 in the file") && text.contains("another number of classes"));
    let own = net.state_dict()["fc.weight"].clone();
    let report = net.load_partial(&state).unwrap();
    assert_eq!((report.mismatched.len(), report.loaded), (2, state.len() - 2));
    assert_eq!(net.state_dict()["fc.weight"].as_bytes(), own.as_bytes());
    assert_eq!(net.state_dict()["conv1.weight"].as_bytes(), state["conv1.weight"].as_bytes());
    let wide = network("cifar-resnet8x4", 3, 100, &device).state_dict();
    assert!(network("cifar-resnet32", 3, 100, &device).load_partial(&wide).is_ok());
    let vgg = network("cifar-vgg8", 3, 100, &device).state_dict();
    assert!(network("cifar-resnet32", 3, 100, &device).load_partial(&vgg).is_err());
}

#[test]
fn counters_may_be_missing_and_extra_tensors_are_reported() {
    let device = Device::flex();
    let mut state = network("cifar-resnet8", 3, 10, &device).state_dict();
    state.retain(|k, _| !k.ends_with("num_batches_tracked"));
    state.insert("aux.weight".into(), TensorData::from([1.0f32]));
    let report = network("cifar-resnet8", 3, 10, &device).load(&state).unwrap();
    assert_eq!(report.unused, strings(&["aux.weight"]));
    state.insert("conv1.weight".into(), TensorData::new(vec![true; 16 * 27], [16, 3, 3, 3]));
    assert!(matches!(network("cifar-resnet8", 3, 10, &device).load(&state), Err(ModelError::BadDtype { .. })));
}

#[test]
fn bad_files_give_one_clear_error() {
    let folder = Folder::new("bad");
    let read = |name: &str| weights::read(&folder.file(name)).unwrap_err().to_string();
    let good = folder.file("good.safetensors");
    weights::write_safetensors(&good, &network("cifar-resnet8", 3, 10, &Device::flex()).state_dict()).unwrap();
    let bytes = std::fs::read(&good).unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(folder.file(name), bytes).unwrap();
    put("short.safetensors", &bytes[..bytes.len() - 100]);
    put("header.safetensors", &bytes[..50]);
    put("empty.pt", b"");
    put("text.pth", b"these are not weights");
    let zip = std::fs::read(fixture("zip.pt")).unwrap();
    put("short.pt", &zip[..zip.len() / 2]);
    let legacy = std::fs::read(fixture("legacy.th")).unwrap();
    for cut in [3, 100, legacy.len() / 2, legacy.len() - 10] {
        put("short.th", &legacy[..cut]);
        assert!(read("short.th").contains("truncated or corrupt PyTorch file"), "{cut}: {}", read("short.th"));
    }
    assert!(read("missing.pt").starts_with("cannot read") && read("missing.pt").contains("missing.pt"));
    assert!(read("short.safetensors").contains("truncated or corrupt safetensors"));
    assert!(read("header.safetensors").contains("truncated or corrupt safetensors"));
    assert!(read("empty.pt").contains("empty"));
    assert!(read("text.pth").contains("neither safetensors nor a PyTorch file"));
    assert!(read("short.pt").contains("truncated or corrupt PyTorch file"));
    // A flipped bit in a tensor fails the checksum of its zip entry.
    let value = 0.1_f64.sin() as f32;
    let place = zip.windows(4).position(|w| w == value.to_le_bytes()).unwrap();
    let mut flipped = zip.clone();
    flipped[place] ^= 1;
    put("flipped.pt", &flipped);
    assert!(read("flipped.pt").contains("truncated or corrupt PyTorch file"));
}

#[test]
fn a_failed_write_leaves_the_old_file_and_no_rest() {
    let folder = Folder::new("write");
    let state = network("cifar-resnet8", 3, 10, &Device::flex()).state_dict();
    let lost = folder.file("no/such/folder.safetensors");
    let text = weights::write_safetensors(&lost, &state).unwrap_err().to_string();
    assert!(text.starts_with("cannot write") && text.contains("folder.safetensors"), "{text}");
    // A folder in the way of the rename.
    std::fs::create_dir(folder.file("taken")).unwrap();
    assert!(weights::write_safetensors(&folder.file("taken"), &state).is_err());
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn nothing_in_a_pickle_runs() {
    // Python would create a file in the working folder while it loads this one. The tensor beside it is readable.
    let state = weights::read(&fixture("hostile.pt")).unwrap();
    assert_eq!(state.keys().collect::<Vec<_>>(), ["conv1.weight"]);
    assert!(!std::path::Path::new("subband-pickle-was-run").exists());
}
