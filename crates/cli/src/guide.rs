//! Texts that teach: the guide shown without arguments and the examples under each `--help`.

/// Printed by `subband` alone.
pub const SHORT: &str = "\
Subband distils vision networks in the frequency domain: a large teacher guides a small student.

Start here
  subband distill recipes/quickstart.toml   teacher, student and three methods on handwritten digits, in minutes
  subband plan RECIPE                       shapes, adapters, memory and time of a recipe, before any training

Your own images: a folder train/<class>/*.jpg and val/<class>/*.jpg
  subband data inspect DIR                  what is there, sizes, classes, damaged files
  cp recipes/quickstart.toml mine.toml      then set dataset = \"folder\" and path = \"DIR\" under [data]

A class for every pixel: train/images and train/labels (PNGs of class indices), the same in val, classes.txt
  dataset = \"masks\" and path = \"DIR\" under [data], with pspnet-* or deeplabv3-* as networks; or camvid,
  cityscapes, mfnet, msrs as they come. README.md has a recipe to start from

See what a trained network does
  subband eval --run RUN --arm NAME            its figures on the test images again, or on another split
  subband predict --run RUN --arm NAME IMAGE   overlays of a segmenter, classes of a classifier
  subband cam --run RUN --arm NAME IMAGE       which places of an image speak for a class
  subband robustness RUN                       what is left of its accuracy under noise, blur, weather

Look around
  subband networks                          networks by name
  subband taps NETWORK                      where features can be read, with shapes
  subband methods                           distillation methods with their sources
  subband --help                            all commands
";

/// Under `subband --help`.
pub const ROOT: &str = "\
What to do first:
  subband distill recipes/quickstart.toml          a whole comparison on embedded images, in minutes
  subband plan recipes/quickstart.toml             what it is going to do, without doing it

A recipe says what to train; --set changes one of its values, several times if needed:
  subband distill recipes/quickstart.toml --set train.epochs=2 --set arm.KD.task_weight=0.5

Exit codes: 0 done, 1 something failed while running, 2 the command, the recipe or a file it names is wrong.";

/// Under `subband distill --help`.
pub const DISTILL: &str = "\
Examples:
  subband distill recipes/quickstart.toml
  subband distill mine.toml --set seed=2 --out runs/mine-seed2
  subband distill mine.toml --resume               goes on after a crash or Ctrl-C, bit for bit

The run folder gets recipe.toml (resolved), run.json, results.json, report.html and arms/<arm>/ with
proof.json, metrics.jsonl, the checkpoint, student-best.safetensors and student-last.safetensors (PyTorch
names). Several seeds: write seeds = [1, 2, 3] in the recipe in the place of seed.";

/// Under `subband train --help`.
pub const TRAIN: &str = "\
Examples:
  subband train recipes/quickstart.toml                                       the recipe's student, on labels
  subband train mine.toml --set student.network=cifar-resnet56 --out runs/teacher
  subband distill mine.toml --set teacher.weights=runs/teacher/arms/student-alone/student-best.safetensors";

/// Under `subband plan --help`.
pub const PLAN: &str = "\
Examples:
  subband plan recipes/quickstart.toml
  subband plan mine.toml --no-time --json | jq .arms

The time is estimated from a few measured training steps; --no-time leaves them out.";

/// Under `subband spectrum --help`.
pub const SPECTRUM: &str = "\
Examples:
  subband spectrum mine.toml
  subband spectrum mine.toml --images 200 --json --set student.weights=runs/mine/arms/kd/student-best.safetensors

The networks are taken as the recipe starts them; --set teacher.weights=FILE and student.weights=FILE give trained ones.
low and high are the inner quarter of the frequencies' radius and all from three quarters on; energy is each band's share.
MSE, MSE/energy, cosine distance, coherence and MMD compare stages of equal channels, CKA any; 0 is equal, 1 for coherence
and CKA.";

/// Under `subband eval --help`.
pub const EVAL: &str = "\
Examples:
  subband eval --run runs/quickstart --arm KD
  subband eval --run runs/camvid-pspnet --arm FreeKD --scales 0.75,1,1.25 --flip
  subband eval --network cifar-resnet20a --weights resnet20.safetensors --data DIR --split val --json
  subband eval --network cifar-resnet8 --weights runs/quickstart/arms/kd/student-best.safetensors --data digits --split test
  subband eval --network pspnet-resnet18-d8 --weights FILE --data data/camvid --split test --resize 180x240

A run's networks are evaluated on its test images as it did itself: the figures are those of results.json. Flags for masks
and --split take the place of what its recipe says.
DIR holds <split>/<class>/<image>; classes are sorted by name (those of train/, if there is one). Data sets with masks are
known by their folders; their figures are mean IoU, mean and pixel accuracy, and those of every class. --corruptions adds
P, mPC and rPC, see `subband robustness --help`.
Weights: safetensors, or PyTorch .pt, .pth, .th; code inside a pickle is never run.";

/// Under `subband robustness --help`.
pub const ROBUSTNESS: &str = "\
Examples:
  subband robustness runs/camvid-pspnet                  teacher and arms, 15 corruptions, 5 severities
  subband robustness runs/camvid-pspnet --corruptions fog,snow,motion_blur --severities 1,3,5 --limit 100
  subband robustness runs/camvid-pspnet --arm CWD --arm teacher --corruptions benchmark
  subband eval --network cifar-resnet20a --weights FILE --data DIR --split val --corruptions benchmark

P is the figure on clean images (mean IoU, top-1), mPC its mean over corruptions and severities, and rPC = mPC / P what
is left of it. Images are corrupted at their own size, from 32x32 on, before they are resized; every network sees the
very same ones. RUN/robustness.json is written after each cell: the command goes on where it was stopped, and another
choice of arms, corruptions or severities measures only what is missing. The figures enter RUN/report.html.";

/// Under `subband predict --help`.
pub const PREDICT: &str = "\
Examples:
  subband predict --run runs/camvid-pspnet --arm FreeKD street.png    predictions/street.png, drawn over the image
  subband predict --run runs/camvid-pspnet --arm teacher photos/ --labels --out seen
  subband predict --network pspnet-resnet18-d8 --weights FILE --class-names cityscapes frankfurt/ --label-ids
  subband predict --run runs/quickstart --arm KD digit.png --json

A segmenter's prediction is drawn at the image's own size, with a legend of classes and their shares below it; nothing
is overwritten without --force. A classifier's best five classes are printed. One bad image does not stop the others.";

/// Under `subband cam --help`.
pub const CAM: &str = "\
Examples:
  subband cam --run runs/camvid-pspnet --arm FreeKD --class car street.png
  subband cam --run runs/camvid-pspnet --arm teacher --class car --method ablation-cam street.png photos/
  subband cam --network resnet18 --weights FILE --classes 1000 --resize 224 --tap stage3 cat.jpg

A map of a segmenter explains the class's scores on the pixels that the network gives to the class, or on all pixels if
there are none. It runs from its own smallest value (violet) to its largest (yellow). `subband taps` lists taps.";

/// Under `subband taps --help`.
pub const TAPS: &str = "\
Examples:
  subband taps cifar-resnet20
  subband taps resnet50 --input 3x224x224 --classes 1000 --json

A tap is a named place where a method reads features. stageK is the output of stage K, stageK.pre the same
before its activation; the stride counts input pixels per tap pixel.";

/// Under `subband data --help`.
pub const DATA: &str = "\
Examples:
  subband data inspect ~/images                    a folder train/<class>/*, val/<class>/*, or with masks
  subband data inspect digits                      the handwritten digits inside this program
  subband data download cifar10                    with checksum, into the cache folder";

/// Under `subband bench --help`.
pub fn bench() -> String {
    format!("{BENCH}{}", crate::commands::bench::listed())
}

const BENCH: &str = "\
Examples:
  subband bench --python torch/bin/python           all training steps, in turns with PyTorch
  subband bench --only resnet18 --only fam-kd --rounds 5
  subband bench --kernels --no-torch                each convolution in GFLOP/s and in per cent of the peak
  subband bench --markdown docs/performance.md      renews the tables of that page

A number is the median over the rounds of the median of each process. Nothing else should run on the machine.

Names for --only, with the images of a step:";

/// Under `subband report --help`.
pub const REPORT: &str = "\
Examples:
  subband report runs/quickstart

Works while a run is going on, too. The page is self-contained: styles and charts are inside, nothing is fetched.";
