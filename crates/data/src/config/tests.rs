use super::*;

#[test]
fn a_recipe_table_reads_and_writes() {
    let text = r#"
        dataset = "folder"
        path = "images"
        normalize = "imagenet"
        crop_padding = 4
        flip = true
        resize = { size = 224, mode = "random", filter = "bicubic" }
        train_limit = 5000
        validation = 0.1
        [teacher]
        normalize = { mean = [0.5], std = [0.25] }
    "#;
    let config: DataConfig = toml::from_str(text).unwrap();
    assert_eq!((config.train_limit, config.crop_padding, config.flip), (Some(5000), 4, true));
    let resize = config.resize.clone().unwrap();
    assert_eq!((resize.mode, resize.shorter(), resize.filter), (ResizeMode::Random, 256, Filter::Bicubic));
    let again: DataConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
    assert_eq!(again, config);
    let number: DataConfig = toml::from_str("dataset = \"digits\"\nresize = 32").unwrap();
    assert_eq!(number.resize, Some(ResizeConfig::square(32)));
    assert_eq!(toml::from_str::<DataConfig>("dataset = \"digits\"").unwrap(), DataConfig::new(DatasetKind::Digits));
}

#[test]
fn wrong_keys_and_values_are_named() {
    for (text, words) in [
        ("dataset = \"digits\"\nflipp = true", "flipp"),
        ("dataset = \"mnist\"", "mnist"),
        ("dataset = \"digits\"\nnormalize = \"imagnet\"", "imagnet"),
        ("dataset = \"digits\"\nnormalize = { mean = [0.5], sdt = [1.0] }", "sdt"),
        ("dataset = \"digits\"\nresize = { size = 32, mod = \"squash\" }", "mod"),
        ("dataset = \"digits\"\nresize = -3", "-3"),
    ] {
        let error = toml::from_str::<DataConfig>(text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let base = || DataConfig::new(DatasetKind::Digits);
    let bad = [
        DataConfig { path: Some("x".into()), ..base() },
        DataConfig { dataset: DatasetKind::Folder, ..base() },
        DataConfig { channels: Some(2), ..base() },
        DataConfig { validation: Some(1.0), ..base() },
        DataConfig { validation: Some(f64::NAN), ..base() },
        DataConfig { train_limit: Some(0), ..base() },
        DataConfig { resize: Some(ResizeConfig { shorter: Some(3), ..ResizeConfig::square(8) }), ..base() },
        DataConfig { resize: Some(ResizeConfig::square(0)), ..base() },
    ];
    for config in bad {
        assert!(matches!(config.check(), Err(DataError::Config { .. })), "{config:?}");
    }
    base().check().unwrap();
}

#[test]
fn keys_of_masks_read_and_write() {
    let text = r#"
        dataset = "masks"
        path = "street"
        classes = ["road", "car"]
        ignore_label = 250
        label_map = { "7" = 0, "8" = 1, "*" = 255 }
        resize = [180, 240]
        scale = [0.5, 2.0]
        crop = [160, 200]
        max_class_share = 0.75
        flip = true
        photometric = "mmseg"
        teacher = { size = [90, 120], photometric = { brightness = 0.2 } }
        student = { size = 64 }
    "#;
    let config: DataConfig = toml::from_str(text).unwrap();
    config.check().unwrap();
    assert_eq!(config.resize, Some(ResizeConfig::to(Size { height: 180, width: 240 })));
    assert_eq!((config.crop.unwrap().array(), config.photometric), ([160, 200], Some(Photometric::Distortion)));
    let factors = PhotometricConfig { brightness: 0.2, contrast: 0.0, saturation: 0.0 };
    let teacher = config.teacher.clone().unwrap();
    assert_eq!(teacher.photometric, Some(Photometric::Factors(factors)));
    assert_eq!((teacher.size.unwrap().width, config.student.clone().unwrap().size), (120, Some(Size::square(64))));
    let written = toml::to_string(&config).unwrap();
    assert_eq!(toml::from_str::<DataConfig>(&written).unwrap(), config);
    assert!(written.contains("photometric = \"mmseg\"") && written.contains("size = 64"), "{written}");
    let camvid: DataConfig = toml::from_str("dataset = \"camvid\"\npath = \"x\"\ncrop = 96").unwrap();
    assert_eq!((camvid.crop, camvid.dataset.task()), (Some(Size::square(96)), Task::Segmentation));
    let table: DataConfig = toml::from_str("dataset = \"camvid\"\nresize = { size = [3, 5] }").unwrap();
    assert_eq!(table.resize.unwrap().size, Size { height: 3, width: 5 });
    for (line, words) in [
        ("resize = [180, 240, 3]", "[height, width]"),
        ("resize = [180]", "[height, width]"),
        ("crop = [-1, 2]", "-1"),
        ("photometric = \"mmsegg\"", "mmsegg"),
        ("photometric = { brightnes = 0.1 }", "brightnes"),
        ("max_class_shar = 0.75", "max_class_share"),
        ("label_map = { \"7\" = 300 }", "300"),
        ("dataset = \"camvit\"", "camvid"),
    ] {
        let dataset = if line.starts_with("dataset") { "" } else { "dataset = \"masks\"\n" };
        let error = toml::from_str::<DataConfig>(&format!("{dataset}{line}")).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn keys_that_make_no_sense_are_refused_by_name() {
    let camvid = || DataConfig { path: Some("x".into()), ..DataConfig::new(DatasetKind::Camvid) };
    let masks = || DataConfig { dataset: DatasetKind::Masks, ..camvid() };
    let folder = || DataConfig { dataset: DatasetKind::Folder, ..camvid() };
    let names = |list: &[&str]| Some(list.iter().map(|n| n.to_string()).collect::<Vec<_>>());
    let size = |height, width| Some(Size { height, width });
    let centre = ResizeConfig { mode: ResizeMode::Center, ..ResizeConfig::square(8) };
    let oblong = ResizeConfig { mode: ResizeMode::Center, ..ResizeConfig::to(Size { height: 8, width: 9 }) };
    let map = [("x".to_string(), 0)].into_iter().collect();
    let mfnet = || DataConfig { dataset: DatasetKind::Mfnet, ..camvid() };
    let view = |bands, channels, size| Some(ViewConfig { bands, channels, size, ..ViewConfig::default() });
    for (config, key) in [
        (DataConfig { path: None, ..camvid() }, "path"),
        (DataConfig { classes: names(&["a"]), ..camvid() }, "classes"),
        (DataConfig { ignore_label: Some(0), ..folder() }, "ignore_label"),
        (DataConfig { label_map: Some(BTreeMap::new()), ..camvid() }, "label_map"),
        (DataConfig { classes: names(&["a", "a"]), ..masks() }, "classes"),
        (DataConfig { classes: names(&[]), ..masks() }, "classes"),
        (DataConfig { classes: names(&["a"]), label_map: Some(map), ..masks() }, "label_map"),
        (DataConfig { scale: Some([0.5, 2.0]), ..folder() }, "scale"),
        (DataConfig { crop: size(4, 4), ..folder() }, "crop"),
        (DataConfig { max_class_share: Some(0.75), ..folder() }, "max_class_share"),
        (DataConfig { scale: Some([2.0, 0.5]), ..camvid() }, "scale"),
        (DataConfig { scale: Some([0.0, 1.0]), ..camvid() }, "scale"),
        (DataConfig { scale: Some([f64::NAN, 1.0]), ..camvid() }, "scale"),
        (DataConfig { crop: size(0, 4), ..camvid() }, "crop"),
        (DataConfig { crop: size(4, 4), max_class_share: Some(1.5), ..camvid() }, "max_class_share"),
        (DataConfig { max_class_share: Some(0.75), ..camvid() }, "max_class_share"),
        (DataConfig { crop_padding: 4, ..camvid() }, "crop_padding"),
        (DataConfig { resize: Some(centre), ..camvid() }, "resize"),
        (DataConfig { resize: Some(oblong), ..folder() }, "resize"),
        (DataConfig { resize: Some(ResizeConfig::square(9000)), ..camvid() }, "resize"),
        (DataConfig { classes: names(&["a", "b"]), ignore_label: Some(1), ..masks() }, "ignore_label"),
        (DataConfig { bands: Some(Bands::Rgb), ..camvid() }, "bands"),
        (DataConfig { student: view(Some(Bands::Rgb), None, None), ..masks() }, "student.bands"),
        (DataConfig { bands: Some(Bands::All), channels: Some(3), ..mfnet() }, "bands"),
        (DataConfig { bands: Some(Bands::Thermal), channels: Some(4), ..mfnet() }, "bands"),
        (DataConfig { student: view(Some(Bands::Rgb), Some(4), None), ..mfnet() }, "student.bands"),
        (DataConfig { bands: Some(Bands::Rgb), teacher: view(None, Some(4), None), ..mfnet() }, "bands"),
        (DataConfig { teacher: view(None, Some(2), None), ..camvid() }, "teacher.channels"),
        (DataConfig { student: view(None, Some(2), None), ..camvid() }, "student.channels"),
        (DataConfig { teacher: view(None, None, size(0, 4)), ..camvid() }, "teacher.size"),
        (DataConfig { student: view(None, None, size(4, 9000)), ..folder() }, "student.size"),
    ] {
        let error = config.check().unwrap_err();
        assert!(matches!(error, DataError::Config { key: found, .. } if found == key), "{key}: {error}");
    }
    camvid().check().unwrap();
    let both = DataConfig { bands: Some(Bands::Thermal), channels: Some(3), ..mfnet() };
    DataConfig { teacher: view(Some(Bands::All), None, None), ..both }.check().unwrap();
}

#[test]
fn values_of_resize_that_a_mode_does_not_read_are_refused() {
    let check = |table: &str| {
        let text = format!("dataset = \"camvid\"\npath = \"x\"\nresize = {{ size = 32, {table} }}");
        let config: DataConfig = toml::from_str(&text).unwrap();
        DataConfig { dataset: DatasetKind::Folder, ..config }.check().map_err(|error| error.to_string())
    };
    for (table, words) in [
        ("scale = [0.5, 2.0]", "`scale` under [data]"),
        ("mode = \"center\", scale = [0.5, 1.0]", "mode random"),
        ("ratio = [1.0, 1.0]", "ratio"),
        ("shorter = 64", "squash"),
    ] {
        let error = check(table).unwrap_err();
        assert!(error.contains("resize") && error.contains(words), "{error}");
    }
    for table in ["mode = \"center\", shorter = 64", "mode = \"random\", scale = [0.5, 1.0], ratio = [1.0, 1.0]"] {
        check(table).unwrap();
    }
    // What a run writes down is read again.
    let config = DataConfig { resize: Some(ResizeConfig::square(32)), ..DataConfig::new(DatasetKind::Digits) };
    let again: DataConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
    again.check().unwrap();
}
