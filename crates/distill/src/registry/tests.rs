use burn::module::list_param_ids;

use super::*;
use subband_models::Feature;

use crate::check::{book, device, features, labels, least_keys, wave};
use crate::{TermConfig, TermWeight, Weight};

fn table(text: &str) -> toml::Table {
    text.parse().unwrap()
}

fn shapes() -> ShapeBook {
    let student: [(&str, &[usize; 3]); 3] = [("stage1", &[4, 8, 8]), ("stage2", &[6, 4, 4]), ("pooled", &[6, 1, 1])];
    let teacher: [(&str, &[usize; 3]); 5] = [
        ("stage1", &[5, 8, 8]),
        ("stage1.pre", &[5, 8, 8]),
        ("stage2", &[7, 4, 4]),
        ("stage2.pre", &[7, 4, 4]),
        ("pooled", &[7, 1, 1]),
    ];
    book(&student, &teacher)
}

#[test]
fn every_method_runs_from_its_table() {
    let map = |c, n, s| wave([3, c, n, n], s, 0.37).cast(burn::tensor::DType::F32);
    let single = |mut f: subband_models::Features| {
        f.logits = Feature::Vector(f.scores().cast(burn::tensor::DType::F32));
        f
    };
    let teacher = single(features(&[
        ("stage1", map(5, 8, 0.1)),
        ("stage1.pre", map(5, 8, 0.3)),
        ("stage2", map(7, 4, 0.5)),
        ("stage2.pre", map(7, 4, 0.7)),
        ("pooled", map(7, 1, 0.9)),
    ]));
    for name in method_names() {
        let config = AnyMethodConfig::from_table(&table(&least_keys(name))).unwrap();
        let wanted = config.taps(&shapes()).unwrap();
        let method = config.init(&shapes(), "arm/term", Stream::new(1), &device()).unwrap();
        let run = |k: usize| {
            let own = [("stage1", 4, 8), ("stage2", 6, 4), ("pooled", 6, 1)];
            let leaves = own.map(|(tap, c, n)| (tap, map(c, n, 1.1).detach().require_grad()));
            let mut student = single(features(&leaves));
            let logits = (student.scores() * 0.5).detach().require_grad();
            student.logits = Feature::Vector(logits.clone());
            let labels = labels(&[1, 3, 0]);
            let input = StepInput {
                student: &student,
                teacher: &teacher,
                labels: labels.into(),
                samples: &[],
                epoch: 1,
                step: 1,
            };
            let mut terms = method.forward(&input).unwrap();
            (k < terms.len()).then(|| (terms.swap_remove(k), leaves, logits))
        };
        // A graph is used up by its backward pass: one forward pass per term.
        assert!(run(0).is_some());
        for (term, leaves, logits) in (0..).map_while(run) {
            assert!(term.name.starts_with(name), "{} of {name}", term.name);
            let value = term.value.clone().into_data().iter::<f64>().next().unwrap();
            assert!(value.is_finite() && value != 0.0, "{name} {}: {value}", term.name);
            let gradients = term.value.backward();
            for tap in &term.reaches {
                assert!(tap == "logits" || wanted.student.contains(tap), "{name} reaches {tap}");
                let largest = |data: burn::tensor::TensorData| data.iter::<f64>().fold(0.0_f64, |m, g| m.max(g.abs()));
                let gradient = match leaves.iter().find(|(leaf, _)| leaf == tap) {
                    Some((_, leaf)) => leaf.grad(&gradients).map(|g| largest(g.into_data())),
                    None => logits.grad(&gradients).map(|g| largest(g.into_data())),
                };
                assert!(gradient.is_some_and(|g| g > 0.0 && g.is_finite()), "{name} {tap}: {gradient:?}");
            }
        }
    }
}

/// Value of the method's loss and its gradients at the student's taps, on maps large enough to be shared out.
fn loss_and_gradients(name: &str, dtype: burn::tensor::DType) -> Vec<f64> {
    let sizes = [("stage1", 8, 32), ("stage1.pre", 8, 32), ("stage2", 16, 16), ("stage2.pre", 16, 16)];
    let shape: Vec<(&str, [usize; 3])> =
        sizes.iter().map(|(t, c, n)| (*t, [*c, *n, *n])).chain([("pooled", [16, 1, 1])]).collect();
    let taps: Vec<(&str, &[usize; 3])> = shape.iter().map(|(t, s)| (*t, s)).collect();
    let book = book(&taps, &taps);
    let config = AnyMethodConfig::from_table(&table(&least_keys(name))).unwrap();
    let method = config.init(&book, "arm/term", Stream::new(1), &device()).unwrap();
    let method = crate::check::cast(method, dtype);
    let maps = |s: f64| {
        let map = |(t, [c, h, w]): &(&'static str, [usize; 3])| (*t, wave([6, *c, *h, *w], s, 0.37).cast(dtype));
        shape.iter().map(map).map(|(t, x)| (t, x.detach().require_grad())).collect::<Vec<_>>()
    };
    let (leaves, targets) = (maps(1.3), maps(0.2));
    let mut student = features(&leaves);
    student.logits = Feature::Vector((student.scores() * 0.5).cast(dtype).detach().require_grad());
    let mut teacher = features(&targets);
    teacher.logits = Feature::Vector(teacher.scores().cast(dtype));
    let labels = labels(&[1, 3, 0, 4, 2, 1]);
    let input =
        StepInput { student: &student, teacher: &teacher, labels: labels.into(), samples: &[], epoch: 1, step: 1 };
    let terms = method.forward(&input).unwrap();
    let loss = terms.into_iter().map(|term| term.value).reduce(|a, b| a + b).unwrap();
    let mut all: Vec<f64> = loss.clone().into_data().iter::<f64>().collect();
    let gradients = loss.backward();
    for (_, leaf) in &leaves {
        all.extend(leaf.grad(&gradients).into_iter().flat_map(|g| g.into_data().iter::<f64>().collect::<Vec<_>>()));
    }
    all
}

#[test]
fn threads_do_not_change_a_bit_of_any_method() {
    for name in method_names() {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| loss_and_gradients(name, burn::tensor::DType::F32))
        };
        let one = with(1);
        for threads in [2, 3] {
            assert!(one == with(threads), "{name} with {threads} threads");
        }
    }
}

#[test]
fn single_precision_keeps_five_digits_of_every_loss() {
    for name in method_names() {
        let [single, double] =
            [burn::tensor::DType::F32, burn::tensor::DType::F64].map(|dtype| loss_and_gradients(name, dtype)[0]);
        assert!((single - double).abs() <= 5e-5 * double.abs(), "{name}: {single} for {double}");
    }
}

#[test]
fn parameters_follow_their_path_only() {
    let mut trained = 0;
    for name in method_names() {
        let config = AnyMethodConfig::from_table(&table(&least_keys(name))).unwrap();
        let make = |path: &str, seed| config.init(&shapes(), path, Stream::new(seed), &device()).unwrap();
        let (a, b) = (make("arm/a", 1), make("arm/a", 1));
        assert_eq!(list_param_ids(&a), list_param_ids(&b));
        assert_eq!(a.state_dict(), b.state_dict());
        let ids = list_param_ids(&a);
        let other = list_param_ids(&make("arm/b", 1));
        assert!(ids.iter().all(|id| !other.contains(id)));
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len());
        assert_eq!(a.state_dict().len(), ids.len());
        let cost = config.cost(&shapes(), 64, &device()).unwrap();
        assert_eq!(cost.parameters, a.param_count());
        assert!(cost.largest_temporary >= 64 * 4, "{name}");
        if ids.is_empty() {
            continue;
        }
        trained += 1;
        // Another seed, then the first one's values: equal again, ids kept, still trainable.
        let c = make("arm/a", 2);
        assert_ne!(c.state_dict(), a.state_dict(), "{name}");
        let c = c.load(&a.state_dict()).unwrap();
        assert_eq!((c.state_dict(), list_param_ids(&c)), (a.state_dict(), ids));
        let mut broken = a.state_dict();
        let key = broken.keys().next().unwrap().clone();
        let value = broken.remove(&key).unwrap();
        assert!(c.clone().load(&broken).unwrap_err().to_string().contains(&key));
        broken.insert("nonsense".to_string(), value);
        assert!(c.load(&broken).is_err());
    }
    assert!(trained > method_names().len() / 2, "{trained} methods have parameters");
}

/// A method's name with the keys that pair one student tap with two teacher taps.
const TWICE: [(&str, &str); 4] =
    [("mse", ""), ("spectralkd", ""), ("compose", "transform = 'fft'\nsplit = 'radial'"), ("monoafkd", "afa = 0.0")];

#[test]
fn a_student_tap_compared_twice_gives_parts_of_two_names() {
    let map = |c, n, s| wave([3, c, n, n], s, 0.37).cast(burn::tensor::DType::F32);
    let student = features(&[("stage1", map(4, 8, 1.1)), ("stage2", map(6, 4, 1.3))]);
    let teacher = features(&[("stage1", map(5, 8, 0.1)), ("stage2", map(7, 4, 0.5))]);
    for (method, keys) in TWICE {
        let name = method;
        let taps = "student_taps = ['stage1', 'stage1', 'stage1', 'stage2']\nteacher_taps = ['stage1', 'stage2', 'stage2', 'stage2']";
        let config = AnyMethodConfig::from_table(&table(&format!("method = '{method}'\n{taps}\n{keys}"))).unwrap();
        let method = config.init(&shapes(), "arm/term", Stream::new(1), &device()).unwrap();
        let input = StepInput {
            student: &student,
            teacher: &teacher,
            labels: labels(&[1, 3, 0]).into(),
            samples: &[],
            epoch: 1,
            step: 1,
        };
        let names: Vec<String> = method.forward(&input).unwrap().into_iter().map(|term| term.name).collect();
        let expected: Vec<String> = match name {
            "compose" => [
                "stage1.low",
                "stage1.high",
                "stage1.low.stage2",
                "stage1.high.stage2",
                "stage1.low.stage2.2",
                "stage1.high.stage2.2",
                "stage2.low",
                "stage2.high",
            ]
            .map(|n| format!("compose.{n}"))
            .into(),
            "monoafkd" => ["", ".stage2", ".stage2.2"]
                .map(|end| format!("monoafkd.wfd.stage1{end}"))
                .into_iter()
                .chain(["monoafkd.wfd.stage2".to_string()])
                .collect(),
            _ => ["stage1", "stage1.stage2", "stage1.stage2.2", "stage2"].map(|end| format!("{name}.{end}")).into(),
        };
        assert_eq!(names, expected);
    }
}

#[test]
fn tables_round_trip_and_mistakes_name_the_remedy() {
    for about in method_docs() {
        let term = TermConfig::from_table(&table(&format!("method = '{}'", about.name))).unwrap();
        assert_eq!(term.weight, TermWeight { weight: Weight::Fixed(about.weight), warmup_epochs: about.warmup_epochs });
        assert_eq!(TermConfig::from_table(&term.to_table()).unwrap(), term);
    }
    let message = |text: &str| TermConfig::from_table(&table(text)).unwrap_err().to_string();
    assert!(message("weight = 1").contains("fam-kd"));
    let text = message("method = 'review-kd'");
    assert!(text.contains("did you mean `reviewkd`") && text.contains("dkd"), "{text}");
    assert!(message("method = 'kd'\ntemprature = 2").contains("did you mean `temperature`"));
    assert!(message("method = 'kd'\nwieght = 2").contains("did you mean `weight`"));
    assert!(message("method = 'kd'\ntemperature = 'warm'").contains("kd"));
    assert!(message("method = 'kd'\nwarmup_epochs = -1").contains("0 or more"));
    assert!(message("method = 'fam-kd'\ngraph = 'ring'").contains("layer-to-layer"));
    // A table inside a term keeps the method's defaults for what it leaves out.
    let partial = table("method = 'sfkd'\nalign = { resize = 'bilinear' }");
    let align = &AnyMethodConfig::from_table(&partial).unwrap().to_table()["align"];
    assert_eq!(align["grid"].as_str(), Some("smaller"));
    assert_eq!(align["resize"].as_str(), Some("bilinear"));
    assert!(message("method = 'sfkd'\nalign = { rezise = 'area' }").contains("rezise"));
    let cold = AnyMethodConfig::from_table(&table("method = 'kd'\ntemperature = 0.0")).unwrap();
    assert!(cold.taps(&shapes()).unwrap_err().to_string().contains("above 0"));
}

#[test]
fn warm_up_is_linear_from_epoch_one() {
    let weight = TermWeight { weight: Weight::Fixed(0.8), warmup_epochs: 20 };
    assert_eq!([1, 10, 20, 21].map(|epoch| weight.at(epoch, 0.8)), [0.8 / 20.0, 0.4, 0.8, 0.8]);
    assert_eq!(TermWeight { weight: Weight::Auto(0.5), warmup_epochs: 0 }.at(1, 0.9), 0.9);
}

#[test]
fn changed_keys_that_nothing_reads_are_refused() {
    let book = book(&[("stage1", &[8, 8, 8])], &[("stage1", &[8, 8, 8])]);
    for (keys, unread) in [
        ("method = 'freekd'\nmasks = 'none'\ntransform = 'dct'\nwavelet = 'db2'", "wavelet"),
        ("method = 'freekd'\nmasks = 'none'\ntransform = 'dft'\nboundary = 'periodic'", "boundary"),
        ("method = 'monoafkd'\nwindow = 4", "window"),
        ("method = 'monoafkd'\nafa = 0.0\nheads = [2]", "heads"),
        ("method = 'monoafkd'\nwfd = 0.0\nlevels = 2", "levels"),
        ("method = 'maskd'\nuntrained = 6\nstudent_masks = false\nstudent_masks_after = 7", "student_masks_after"),
        ("method = 'freqkd'\nloss = 'cosine'\nvariant = 'paper'", "variant"),
    ] {
        let config = AnyMethodConfig::from_table(&table(keys)).unwrap();
        let error = config.taps(&book).unwrap_err().to_string();
        assert!(error.contains(&format!("`{unread} = ")) && error.contains("no effect"), "{keys}: {error}");
    }
}

#[test]
fn two_classes_have_no_relation_that_could_differ() {
    let mut book = book(&[("stage1", &[8, 8, 8])], &[("stage1", &[8, 8, 8])]);
    book.classes = 2;
    let logits = |taps: &mut Vec<subband_models::TapInfo>| {
        let tap = taps.iter_mut().find(|tap| tap.name == "logits").unwrap();
        tap.shape = subband_models::TapShape::Vector { channels: 2 };
    };
    logits(&mut book.student);
    logits(&mut book.teacher);
    let taps = |keys: &str| AnyMethodConfig::from_table(&table(keys)).unwrap().taps(&book);
    assert!(taps("method = 'dist'").unwrap_err().to_string().contains("beta = 0"));
    assert!(taps("method = 'dist'\nbeta = 0.0").is_ok());
}
