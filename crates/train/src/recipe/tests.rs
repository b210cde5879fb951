use super::*;
use crate::TrainError;

const GOOD: &str = r#"
seed = 3
[data]
dataset = "digits"
validation = 0.1
[teacher]
network = "cifar-resnet20"
train = { epochs = 2, lr = 0.01 }
[student]
network = "cifar-resnet8"
[train]
epochs = 4
optimizer = { kind = "sgd", lr = 0.05, momentum = 0.8 }
schedule = { kind = "step", milestones = [2, 3] }
[[arm]]
name = "student alone"
[[arm]]
name = "KD"
task_weight = 0.1
[[arm.term]]
method = "kd"
weight = 0.9
temperature = 4.0
"#;

fn parse(text: &str, overrides: &[&str]) -> Result<Recipe, TrainError> {
    let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).collect();
    Recipe::parse(text, "test", &overrides)
}

fn error(text: &str) -> String {
    parse(text, &[]).unwrap_err().to_string()
}

#[test]
fn defaults_are_filled_in_and_the_resolved_recipe_reads_back() {
    let recipe = parse(GOOD, &[]).unwrap();
    assert_eq!((recipe.name.as_str(), recipe.seed, recipe.train.batch_size), ("test", 3, 64));
    let teacher = recipe.teacher.as_ref().unwrap().train.as_ref().unwrap();
    let sgd = |lr| OptimizerRecipe::Sgd { lr, momentum: 0.8, weight_decay: 5e-4, nesterov: false };
    assert_eq!((teacher.epochs, &teacher.optimizer), (2, &sgd(0.01)));
    assert_eq!(recipe.train.optimizer, sgd(0.05));
    assert_eq!(recipe.train.schedule, Schedule::Step { milestones: vec![2.0, 3.0], gamma: 0.1 });
    let text = recipe.to_toml();
    assert!(text.contains("momentum = 0.8") && text.contains("temperature = 4.0"), "{text}");
    assert_eq!(parse(&text, &[]).unwrap(), recipe);
}

#[test]
fn unknown_keys_are_named_with_path_line_and_nearest() {
    let cases = [
        ("epochs = 4", "epoch = 4\nepochs = 4", "`train.epoch` in the recipe (line 12); did you mean `epochs`?"),
        ("[train]", "[trian]\n[train]", "`trian` in the recipe (line 11); did you mean `train`?"),
        ("momentum = 0.8", "momentun = 0.8", "`train.optimizer.momentun` in the recipe (line 13)"),
        ("milestones = [2, 3]", "milestones = [2, 3], gama = 0.5", "did you mean `gamma`?"),
        ("temperature", "temprature", "`arm.1.term.0.temprature` in the recipe (line 23); did you mean `temperature`?"),
        ("task_weight", "task_wieght", "`arm.1.task_wieght` in the recipe (line 19); did you mean `task_weight`?"),
        ("validation = 0.1", "valdation = 0.1", "did you mean `validation`?"),
        ("train = { epochs = 2", "train = { epocs = 2", "`teacher.train.epocs`"),
    ];
    for (from, to, want) in cases {
        let message = error(&GOOD.replacen(from, to, 1));
        assert!(message.contains(want), "{to}: {message}");
    }
}

#[test]
fn values_out_of_range_are_named() {
    let cases = [
        ("epochs = 4", "epochs = 0", "`train.epochs` (line 12)"),
        ("epochs = 4", "epochs = \"four\"", "`train.epochs` (line 12)"),
        ("lr = 0.05", "lr = -1.0", "`train.optimizer.lr` (line 13)"),
        ("lr = 0.05", "lr = nan", "`train.optimizer.lr`"),
        ("momentum = 0.8", "momentum = 1.5", "`train.optimizer.momentum`"),
        ("milestones = [2, 3]", "milestones = [3, 2]", "`train.schedule.milestones` (line 14)"),
        ("validation = 0.1", "validation = 1.0", "`data.validation` (line 5)"),
        ("weight = 0.9", "weight = 0.0", "`arm.1.term.0.weight`"),
        ("weight = 0.9", "weight = inf", "weight"),
        ("task_weight = 0.1", "task_weight = -0.1", "`arm.1.task_weight`"),
        ("name = \"KD\"", "name = \"Student  Alone\"", "`arm.1.name`"),
        ("train = { epochs = 2, lr = 0.01 }", "", "random weights"),
        ("method = \"kd\"", "method = \"kdd\"", "no distillation method `kdd`"),
        ("dataset = \"digits\"", "dataset = \"digit\"", "`data"),
    ];
    for (from, to, want) in cases {
        let message = error(&GOOD.replacen(from, to, 1));
        assert!(message.contains(want), "{to}: {message}");
    }
    let without_teacher =
        GOOD.replace("[teacher]\nnetwork = \"cifar-resnet20\"\ntrain = { epochs = 2, lr = 0.01 }\n", "");
    assert!(error(&without_teacher).contains("no [teacher]"));
    assert!(error(&GOOD.replace("[student]\nnetwork = \"cifar-resnet8\"\n", "")).contains("`[student]`"));
    assert!(error("a = [").contains("not valid TOML"));
    assert!(error(&GOOD.replace("network = \"cifar-resnet8\"", "")).contains("`student.network`"));
}

#[test]
fn overrides_reach_every_place() {
    let set = ["train.epochs=7", "data.train_limit=100", "arm.KD.task_weight=0.5", "arm.1.term.kd.temperature=2.0"];
    let recipe = parse(GOOD, &set).unwrap();
    assert_eq!((recipe.train.epochs, recipe.data.train_limit, recipe.arms[1].task_weight), (7, Some(100), 0.5));
    assert!(recipe.to_toml().contains("temperature = 2.0"));
    let set = ["student.network=cifar-resnet14", "train.schedule={kind=\"cosine\"}", "student.frozen=[\"conv1\"]"];
    let recipe = parse(GOOD, &set).unwrap();
    assert_eq!((recipe.student.network.as_str(), recipe.student.frozen.len()), ("cifar-resnet14", 1));
    assert_eq!(recipe.train.schedule, Schedule::Cosine { final_factor: 0.0 });
    let bad = [
        ("train.epochs", "key=value"),
        ("train..epochs=1", "empty part"),
        ("train.epochs=", "value is empty"),
        ("arm.XY.task_weight=1", "student alone, KD"),
        ("arm.5.task_weight=1", "there is no `5`"),
        ("seed.x=1", "has no keys"),
        ("train.epochs=[1", "not valid TOML"),
        ("train.epoch=1", "did you mean `epochs`?"),
    ];
    for (text, want) in bad {
        let message = parse(GOOD, &[text]).unwrap_err().to_string();
        assert!(message.contains(want), "{text}: {message}");
    }
}

#[test]
fn slugs_and_default_arm() {
    let recipe = parse(GOOD, &[]).unwrap();
    assert_eq!(recipe.arms[0].slug(), "student-alone");
    assert_eq!(super::slug("FAM-KD (depthwise)"), "fam-kd-depthwise");
    assert_eq!(super::slug("???"), "arm");
    let start = GOOD.find("[[arm]]").unwrap();
    let plain = parse(&GOOD[..start], &[]).unwrap();
    assert_eq!(plain.arms().len(), 1);
    assert!(plain.arms()[0].terms.is_empty());
}

#[test]
fn seeds_stand_in_the_place_of_a_seed() {
    let start = GOOD.lines().find(|line| line.starts_with("seed")).unwrap();
    let with = |seeds: &str| GOOD.replacen(start, seeds, 1);
    let recipe = parse(&with("seeds = [5, 2]"), &[]).unwrap();
    assert_eq!((recipe.seed, &recipe.seeds[..]), (5, &[5, 2][..]));
    assert_eq!(recipe.trainings(), [Some(5), Some(2)]);
    let text = recipe.to_toml();
    assert!(text.contains("seeds = [5, 2]") && !text.contains("seed ="), "{text}");
    assert_eq!(parse(&text, &[]).unwrap(), recipe);
    assert_eq!(
        (recipe.arms[1].slug_of(Some(2)), recipe.arms[1].label_of(Some(2))),
        ("kd-seed2".into(), "KD, seed 2".into())
    );
    let one = parse(&with("seeds = [5]"), &[]).unwrap();
    assert_eq!((one.seed, one.seeds.len(), one.trainings()), (5, 0, vec![None]));
    let cases = [
        ("seeds = []", "`seeds`"),
        ("seeds = [1, 1]", "1 is there twice"),
        ("seeds = [1, -1]", "`seeds`"),
        ("seed = 1\nseeds = [1, 2]", "one of the two"),
    ];
    for (seeds, want) in cases {
        let message = error(&with(seeds));
        assert!(message.contains(want), "{seeds}: {message}");
    }
    // Each of the two keys takes the other's place.
    let seeds = parse(&with("seed = 3"), &["seeds=[1, 2]"]).unwrap();
    assert_eq!((seeds.seed, &seeds.seeds[..]), (1, &[1, 2][..]));
    let seed = parse(&with("seeds = [5, 2]"), &["seed=7"]).unwrap();
    assert_eq!((seed.seed, seed.seeds.len()), (7, 0));
}

#[test]
fn names_of_terms_have_one_meaning_in_the_metrics() {
    let with = |name: &str| GOOD.to_string() + &format!("name = \"{name}\"\n[[arm.term]]\nmethod = \"rkd\"\n");
    for name in ["loss", "total", "task"] {
        assert!(error(&with(name)).contains("a meaning of its own"), "{name}");
    }
    let part = error(&with("rkd.angle"));
    assert!(part.contains("`arm.1.term.1.name`") && part.contains("\"rkd.angle\" reads"), "{part}");
    assert!(error(&with("rkd")).contains("two terms"));
    assert!(parse(&with("rkd-angle"), &[]).is_ok() && parse(&with("rkds.angle"), &[]).is_ok());
    let reverse =
        GOOD.to_string() + "[[arm.term]]\nmethod = \"rkd\"\n[[arm.term]]\nmethod = \"kd\"\nname = \"rkd.x\"\n";
    assert!(error(&reverse).contains("part of the term \"rkd\""));
}

#[test]
fn errors_name_the_key_at_fault() {
    let prompts = GOOD.replacen("[[arm]]", "[prompts]\nsteps = 5\n[[arm]]", 1);
    let cases = [
        ("student.lora={rnk=2,targets=[\"qkv\"]}", "`student.lora.rnk`"),
        ("student.lora={rank=-2,targets=[\"qkv\"]}", "`student.lora.rank`"),
        ("student.lora={rank=2}", "`student.lora.targets`"),
        ("prompts.tokens=-1", "`prompts.tokens`: invalid value: integer `-1`, expected a whole number, 0 or more"),
        // The file's line has another value.
        ("prompts.steps=-1", "`prompts.steps`: invalid value"),
        ("train.optimizer.lr=-1.0", "`train.optimizer.lr`: "),
        ("prompts.lr=0.1", "did you mean `optimizer.lr`?"),
        ("train.lr=0.1", "did you mean `optimizer.lr`?"),
        ("train.epochs=-1", "expected a whole number, 0 or more"),
        ("seeds=[-1]", "expected a whole number, 0 or more"),
    ];
    for (text, want) in cases {
        let message = parse(&prompts, &[text]).unwrap_err().to_string();
        assert!(message.contains(want), "{text}: {message}");
    }
}
