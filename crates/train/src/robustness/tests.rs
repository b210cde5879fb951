use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use burn::prelude::Device;
use subband_data::{Corruption, DataConfig, DatasetKind, Severity};
use subband_models::NetworkConfig;
use subband_seed::Stream;

use super::record::{Again, FILE, RecordFile};
use super::*;
use crate::evaluate::Evaluation;
use crate::evidence::report::png::png;
use crate::evidence::{NetworkRobustness, RobustnessImages, RobustnessRecord};
use crate::recipe::EvaluateRecipe;
use crate::{Scores, TrainError};

fn grid(names: &[&str], severities: &[u8]) -> CorruptionGrid {
    CorruptionGrid::parse(names, severities).unwrap()
}

fn refused(names: &[&str], severities: &[u8]) -> String {
    CorruptionGrid::parse(names, severities).unwrap_err().to_string()
}

#[test]
fn grids_are_named_and_ordered() {
    let small = grid(&["snow", " fog"], &[5, 1]);
    let cells: Vec<String> = small.conditions().iter().map(Condition::to_string).collect();
    assert_eq!(cells, ["clean", "snow 1", "snow 5", "fog 1", "fog 5"]);
    assert_eq!(grid(&["benchmark"], &[1, 2, 3, 4, 5]).conditions().len(), 76);
    assert_eq!(grid(&["all"], &[2]).corruption_names().len(), 19);
    assert_eq!(grid(&["benchmark", "saturate"], &[2]).corruption_names().len(), 16);
    let unknown = refused(&["fogg"], &[1]);
    assert!(unknown.contains("did you mean `fog`?") && unknown.contains("`benchmark`"), "{unknown}");
    for severity in [0, 6] {
        assert!(refused(&["fog"], &[severity]).contains(&format!("severity {severity}")));
    }
    assert!(refused(&["benchmark", "fog"], &[1]).contains("`fog` is listed twice"));
    assert!(refused(&["fog"], &[2, 2]).contains("severity 2 is listed twice"));
    assert!(refused(&["fog"], &[]).contains("at least one"));
    let folder = Path::new("pictures");
    let no_frost = FrostSource::open(Some(folder), &small).unwrap_err().to_string();
    assert!(no_frost.contains("`frost` is not among"), "{no_frost}");
    assert!(FrostSource::open(Some(folder), &grid(&["frost"], &[1])).unwrap_err().to_string().contains("frost1"));
}

/// The record of a run with two networks before anything is measured.
fn fresh(names: &[&str], severities: &[u8], weights: [&str; 2]) -> RobustnessRecord {
    let grid = grid(names, severities);
    let network = |(name, weights): (&str, &str)| NetworkRobustness {
        name: name.into(),
        slug: name.into(),
        network: "x".into(),
        weights: weights.into(),
        unfinished: false,
        cells: Vec::new(),
        results: BTreeMap::new(),
    };
    RobustnessRecord {
        run: "r".into(),
        version: "0".into(),
        images: RobustnessImages { chosen: 4, of: 9, seed: 1, fingerprint: "f".into() },
        frost: RobustnessRecord::GENERATED.into(),
        corruptions: grid.corruption_names(),
        severities: grid.levels(),
        networks: ["teacher", "kd"].into_iter().zip(weights).map(network).collect(),
    }
}

fn found(top1: f64) -> Evaluation {
    let counts = [("total".to_string(), 4)].into();
    let scores = Scores::new([("top1", top1), ("loss", f64::INFINITY)]);
    Evaluation { counts, scores, ..Evaluation::default() }
}

fn missing(file: &RecordFile, grid: &CorruptionGrid, slug: &str) -> Vec<String> {
    grid.conditions().into_iter().filter(|c| file.lacks(slug, *c)).map(|c| c.to_string()).collect()
}

#[test]
fn only_what_would_come_out_differently_is_measured_again() {
    let folder = tempfile::tempdir().unwrap();
    let open = |record| RecordFile::open(folder.path(), record, None);
    let small = grid(&["fog", "frost"], &[3]);
    let mut file = open(fresh(&["fog", "frost"], &[3], ["a", "b"])).unwrap();
    for (condition, top1) in small.conditions().into_iter().zip([80.0, 60.0, 20.0]) {
        assert!(file.lacks("teacher", condition));
        file.add("teacher", condition, &found(top1));
        // Interrupted: a file is whole after every cell.
        file.write().unwrap();
    }
    let file = open(fresh(&["fog", "frost"], &[3], ["a", "b"])).unwrap();
    assert!(missing(&file, &small, "teacher").is_empty() && missing(&file, &small, "kd").len() == 3);
    let result = file.record.networks[0].primary().unwrap().1;
    assert_eq!((result.clean, result.mpc, result.rpc), (80.0, 40.0, Some(50.0)));
    assert!(file.record.networks[0].cells[1].figures.get("loss").unwrap().is_nan());
    // Another selection keeps the cells that it does not name.
    let wide = grid(&["fog", "snow"], &[3, 4]);
    let mut file = open(fresh(&["fog", "snow"], &[3, 4], ["a", "b"])).unwrap();
    assert_eq!(missing(&file, &wide, "teacher"), ["snow 3", "snow 4", "fog 4"]);
    assert!(file.record.networks[0].results.is_empty());
    file.write().unwrap();
    let file = open(fresh(&["fog", "frost"], &[3], ["a", "b"])).unwrap();
    assert_eq!(file.record.networks[0].primary().unwrap().1.mpc, 40.0);
    // Other pictures change frost alone.
    let pictures = RobustnessRecord { frost: "pictures 1".into(), ..fresh(&["fog", "frost"], &[3], ["a", "b"]) };
    let file = open(pictures).unwrap();
    assert_eq!(missing(&file, &small, "teacher"), ["frost 3"]);
    assert_eq!(file.renewed.len(), 1);
    let without = RobustnessRecord { frost: "pictures 1".into(), ..fresh(&["fog"], &[3], ["a", "b"]) };
    let file = open(without).unwrap();
    assert!(file.renewed.is_empty() && file.record.frost == RobustnessRecord::GENERATED);
    // Other weights are another network.
    let file = open(fresh(&["fog", "frost"], &[3], ["new", "b"])).unwrap();
    assert_eq!(missing(&file, &small, "teacher").len(), 3);
    assert!(file.renewed[0].contains("teacher") && file.renewed[0].contains("weights"));
}

#[test]
fn figures_on_other_images_are_not_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let record = || fresh(&["fog"], &[3], ["a", "b"]);
    let mut file = RecordFile::open(folder.path(), record(), None).unwrap();
    file.add("kd", Condition::Clean, &found(50.0));
    file.write().unwrap();
    let refused = |images: RobustnessImages| {
        let record = RobustnessRecord { images, ..record() };
        RecordFile::open(folder.path(), record, None).err().unwrap().to_string()
    };
    let all = refused(RobustnessImages { chosen: 9, ..record().images });
    assert!(
        all.contains("--limit 4 continues") && all.contains("all 9 test images") && all.contains("--force"),
        "{all}"
    );
    let other = refused(RobustnessImages { fingerprint: "g".into(), ..record().images });
    assert!(other.contains("other data") && other.contains("--force"), "{other}");
    std::fs::write(folder.path().join(FILE), "{\"run\":").unwrap();
    let damaged = RecordFile::open(folder.path(), record(), None).err().unwrap().to_string();
    assert!(damaged.contains("is damaged") && damaged.contains("--force"), "{damaged}");
    let again = || Some(Again { slugs: vec!["kd".into()], conditions: vec![Condition::Clean] });
    let anew = RecordFile::open(folder.path(), record(), again()).unwrap();
    assert!(anew.renewed.len() == 1 && anew.record.networks.iter().all(|network| network.cells.is_empty()));
    file.write().unwrap();
    let images = RobustnessImages { chosen: 9, ..record().images };
    let anew = RecordFile::open(folder.path(), RobustnessRecord { images, ..record() }, again()).unwrap();
    assert!(anew.renewed.len() == 1 && anew.record.networks.iter().all(|network| network.cells.is_empty()));
}

#[test]
fn what_is_measured_again_is_what_was_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let (all, fog) = (grid(&["fog", "frost"], &[3, 5]), grid(&["fog"], &[5]));
    let whole = || fresh(&["fog", "frost"], &[3, 5], ["a", "b"]);
    let mut file = RecordFile::open(folder.path(), whole(), None).unwrap();
    for (place, condition) in all.conditions().into_iter().enumerate() {
        file.add("teacher", condition, &found(80.0 / (place + 1) as f64));
        file.add("kd", condition, &found(70.1 / (place + 1) as f64));
    }
    file.write().unwrap();
    let before: RobustnessRecord = serde_json::from_slice(&std::fs::read(folder.path().join(FILE)).unwrap()).unwrap();
    // The teacher is not chosen, so that nobody looked at its weights.
    let again = Again { slugs: vec!["kd".into()], conditions: fog.conditions() };
    let mut file = RecordFile::open(folder.path(), fresh(&["fog"], &[5], ["", "b"]), Some(again)).unwrap();
    assert!(missing(&file, &all, "teacher").is_empty() && file.renewed.is_empty());
    assert_eq!(missing(&file, &all, "kd"), ["clean", "fog 5"]);
    for condition in fog.conditions() {
        file.add("kd", condition, &found(33.0));
    }
    file.write().unwrap();
    let after: RobustnessRecord = serde_json::from_slice(&std::fs::read(folder.path().join(FILE)).unwrap()).unwrap();
    let bits = |record: &RobustnessRecord, slug: &str, condition: &Condition| {
        let network = record.networks.iter().find(|network| network.slug == slug).unwrap();
        let cell = network.cell(condition.name(), condition.severity()).unwrap();
        (network.weights.clone(), cell.figures.get("top1").unwrap().to_bits())
    };
    for condition in all.conditions() {
        assert_eq!(bits(&before, "teacher", &condition), bits(&after, "teacher", &condition), "{condition}");
        let measured = fog.conditions().contains(&condition);
        assert_eq!(bits(&before, "kd", &condition) == bits(&after, "kd", &condition), !measured, "{condition}");
    }
}

/// Two classes of made-up images in `val`, 36 pixels high.
fn photos(width: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (class, shade) in [("bright", 190), ("dark", 40)] {
        let place = folder.path().join("val").join(class);
        std::fs::create_dir_all(&place).unwrap();
        for index in 0..6 {
            let value = |at: usize| (shade + (13 * at + 29 * index) % 60) as u8;
            let values: Vec<u8> = (0..36 * width * 3).map(value).collect();
            std::fs::write(place.join(format!("{index}.png")), png(width, 36, 3, &values)).unwrap();
        }
    }
    folder
}

fn measurement(data: &Path, limit: Option<usize>, batch: usize) -> SplitRobustness {
    let mut config = DataConfig::new(DatasetKind::Folder);
    config.path = Some(data.into());
    let grid = grid(&["gaussian_noise", "contrast"], &[1, 5]);
    let frost = FrostSource::open(None, &grid).unwrap();
    let split = config.open_split("val", 0).unwrap();
    SplitRobustness { split, batch, limit, seed: 0, grid, frost, options: EvaluateRecipe::default() }
}

#[test]
fn cells_are_those_of_corrupted_images_and_no_batch_changes_them() {
    let data = photos(40);
    let network = NetworkConfig::new("cifar-resnet8", 3, 2).init(Stream::new(3), &Device::flex()).unwrap();
    let mut events = Vec::new();
    let all = measurement(data.path(), None, 12);
    let result = all
        .measure(&network, &mut |event| {
            if let RobustnessEvent::CellEnded { cell, cells, condition, figures } = event {
                events.push((format!("{cell}/{cells} {condition}"), figures.len()));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(events.first(), Some(&("1/5 clean".into(), 1)));
    assert_eq!(events.last(), Some(&("5/5 contrast 5".into(), 1)));
    // One cell by another way: every image corrupted by hand.
    let corrupted = |corruption: Corruption, severity: u8| {
        let mut split = all.split.clone();
        let severity = Severity::new(severity).unwrap();
        split.dataset = std::sync::Arc::new(subband_data::Corrupted::new(split.dataset, corruption, severity, 0));
        crate::evaluate(&network, &split.loader(5).unwrap(), &EvaluateRecipe::default()).unwrap()
    };
    let noisy = corrupted(Corruption::GaussianNoise, 5);
    let cell = result.robustness.cells.iter().find(|cell| cell.corruption == "gaussian_noise" && cell.severity == 5);
    let cell = cell.unwrap();
    assert_eq!(cell.images, 12);
    assert!((cell.figures.get("loss").unwrap() - noisy.scores.get("loss").unwrap()).abs() < 1e-5);
    assert!((cell.figures.get("loss").unwrap() - result.clean.scores.get("loss").unwrap()).abs() > 1e-4);
    let top1 = &result.robustness.results["top1"];
    let mean = result.robustness.cells[1..].iter().map(|cell| cell.figures.get("top1").unwrap()).sum::<f64>() / 4.0;
    assert!((top1.mpc - mean).abs() < 1e-9 && top1.clean == result.clean.scores.get("top1").unwrap());
    // Some of the images: twice the same, and the tables name what is measured.
    let some = measurement(data.path(), Some(5), 2);
    let go = |of: &SplitRobustness| of.measure(&network, &mut |_| ControlFlow::Continue(())).unwrap();
    let few = go(&some);
    assert_eq!(few, go(&some));
    assert_eq!((few.robustness.images, few.clean.images()), (5, 5));
    let text: String = tables_of("cifar-resnet8", &few).iter().map(|table| table.to_string()).collect();
    assert!(
        text.contains("on 5 images") && text.contains("2 corruptions at 2 severities") && text.contains("contrast")
    );
    let stopped = some.measure(&network, &mut |_| ControlFlow::Break(())).unwrap_err();
    assert!(matches!(stopped, TrainError::Stopped { .. }), "{stopped}");
    assert!(measurement(data.path(), Some(0), 2).measure(&network, &mut |_| ControlFlow::Continue(())).is_err());
}

#[test]
fn images_that_are_too_small_are_named() {
    let data = photos(31);
    let network = NetworkConfig::new("cifar-resnet8", 3, 2).init(Stream::new(3), &Device::flex()).unwrap();
    let error = measurement(data.path(), None, 4).measure(&network, &mut |_| ControlFlow::Continue(())).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("0.png") && error.contains("31x36") && error.contains("32x32"), "{error}");
}

#[test]
fn networks_are_chosen_before_their_files_are_read_and_unfinished_ones_are_marked() {
    let data = photos(40);
    for class in ["bright", "dark"] {
        let [from, to] = ["val", "train"].map(|split| data.path().join(split).join(class));
        std::fs::create_dir_all(&to).unwrap();
        for name in ["0.png", "1.png"] {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
    std::fs::write(data.path().join("val/dark/5.png"), b"no picture").unwrap();
    let text = format!(
        "name = 'photos'\n[data]\ndataset = 'folder'\npath = {:?}\nresize = 32\nskip_corrupt = true\n[student]\n\
         network = 'cifar-resnet8'\n[train]\nepochs = 1\nbatch_size = 2\n[report]\npictures = 0\n[[arm]]\n\
         name = 'A'\n[[arm]]\nname = 'B'\n",
        data.path().display().to_string()
    );
    let recipe = crate::Recipe::parse(&text, "photos", &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (out, device) = (folder.path().join("run"), Device::flex());
    let options = crate::RunOptions { out_dir: out.clone(), resume: false, device, progress: &mut crate::Silent };
    crate::run(&recipe, options).unwrap();
    // B has lost its weights, and A is at work.
    std::fs::remove_file(out.join("arms/b/student-best.safetensors")).unwrap();
    std::fs::remove_file(out.join("arms/a/result.json")).unwrap();
    let measure = |arms: &[&str]| {
        let (mut told, mut skips) = (Vec::new(), 0);
        let mut progress = |event: RobustnessEvent<'_>| {
            match event {
                RobustnessEvent::Started { unfinished, left_out, .. } => {
                    told = vec![unfinished.to_vec(), left_out.iter().map(|(name, _)| name.clone()).collect()];
                }
                RobustnessEvent::Skipped { images } => {
                    assert!(images.len() == 1 && images[0].error.contains("5.png"));
                    skips += 1;
                }
                _ => {}
            }
            ControlFlow::Continue(())
        };
        let grid = grid(&["contrast"], &[1, 5]);
        let frost = FrostSource::open(None, &grid).unwrap();
        let arms = arms.iter().map(|arm| arm.to_string()).collect();
        let device = Device::flex();
        let options = RobustnessOptions {
            grid,
            arms,
            data: None,
            limit: None,
            frost,
            force: false,
            device,
            progress: &mut progress,
        };
        let record = robustness(&out, options);
        record.map(|record| (record, told, skips))
    };
    let (record, told, skips) = measure(&["A"]).unwrap();
    assert_eq!((&told[0][..], told[1].len(), skips), (&["A".to_string()][..], 0, 1));
    assert_eq!((record.images.chosen, record.looked_at()), (12, 11));
    let text: String = tables(&record).iter().map(|table| table.to_string()).collect();
    assert!(text.contains("A (still in training)") && text.contains("11 of 12 test images"), "{text}");
    assert!(measure(&["B"]).unwrap_err().to_string().contains("\"B\" cannot be measured"));
    assert_eq!(measure(&[]).unwrap().1[1], ["B"]);
    // What is measured stays, whoever is chosen, until the weights are others.
    let page = || std::fs::read_to_string(crate::evidence::report::write_report(&out).unwrap()).unwrap();
    assert!(!page().contains("earlier weights"));
    std::fs::write(out.join("arms/a/student-best.safetensors"), b"others").unwrap();
    assert!(
        page().contains("measured on earlier weights") && page().contains("Run <code>subband robustness</code> again")
    );
}
