//! `subband robustness`, and what `subband eval --corruptions` shares with it.
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use subband_data::Corruption;
use subband_train::evidence::report::write_report;
use subband_train::robustness::{
    CorruptionGrid, FrostSource, RobustnessEvent, RobustnessOptions, robustness as measure, tables,
};
use subband_train::{Scores, duration};

use super::{print, print_json};
use crate::args::{CorruptionArgs, RobustnessArgs};
use crate::console::speed;
use crate::device;
use crate::failure::Failure;

/// Measures the networks of a run on corrupted test images.
pub fn robustness(args: &RobustnessArgs) -> Result<(), Failure> {
    let (grid, frost) = selection(&args.corruptions)?;
    let device = device::open(&args.compute)?;
    if !args.quiet {
        frost_note(&grid, &frost);
    }
    let mut watch = Watch::new(args.quiet);
    let mut told = |event: RobustnessEvent<'_>| watch.event(&event);
    let options = RobustnessOptions {
        grid,
        arms: args.arm.clone(),
        data: args.data.clone(),
        limit: args.limit,
        frost,
        force: args.force,
        device,
        progress: &mut told,
    };
    let outcome = measure(&args.run, options);
    watch.finish();
    let record = outcome?;
    // The page shows what was just measured; the figures are safe whether it can be written or not.
    let page = write_report(&args.run)?;
    if args.json {
        return print_json(&record);
    }
    let tables: Vec<String> = tables(&record).iter().map(|table| table.to_string()).collect();
    let frost = if record.has_generated_frost() { "frost is made of generated textures, see --frost\n" } else { "" };
    let file = args.run.join("robustness.json");
    print(&format!("{}\n{frost}{}\n{}\n", tables.join("\n"), file.display(), page.display()))
}

/// The corruptions, severities and frost that the flags name; the benchmark at all severities where they do not.
///
/// # Errors
/// Unknown names, severities from 6 on, pictures of frost that are not there.
pub fn selection(args: &CorruptionArgs) -> Result<(CorruptionGrid, FrostSource), Failure> {
    let benchmark = ["benchmark".to_string()];
    let names = if args.corruptions.is_empty() { &benchmark[..] } else { &args.corruptions };
    let severities = if args.severities.is_empty() { &[1, 2, 3, 4, 5][..] } else { &args.severities };
    let grid = CorruptionGrid::parse(names, severities)?;
    let frost = FrostSource::open(args.frost.as_deref(), &grid)?;
    Ok((grid, frost))
}

/// Says that frost is not that of the package, where it matters.
pub fn frost_note(grid: &CorruptionGrid, frost: &FrostSource) {
    if grid.contains(Corruption::Frost) && frost.is_generated() {
        eprintln!(
            "note: frost is made of generated textures, so its figures are not those of published tables; --frost DIR takes \
             the pictures of the Python package imagecorruptions"
        );
    }
}

/// Shows how far a measurement is: a bar on a terminal, a line per cell elsewhere.
pub struct Watch {
    quiet: bool,
    bar: Option<ProgressBar>,
    clock: Instant,
    images: usize,
    networks: usize,
}

impl Watch {
    /// A quiet one shows nothing.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, bar: None, clock: Instant::now(), images: 0, networks: 0 }
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Shows an event.
    pub fn event(&mut self, event: &RobustnessEvent<'_>) -> ControlFlow<()> {
        if self.quiet {
            return ControlFlow::Continue(());
        }
        match event {
            RobustnessEvent::Started { networks, left_out, unfinished, cells, kept, images, renewed } => {
                unfinished
                    .iter()
                    .for_each(|name| eprintln!("note: {name} is still in training: its figures are not final"));
                left_out.iter().for_each(|(name, reason)| eprintln!("note: {name} is left out: {reason}"));
                renewed.iter().for_each(|reason| eprintln!("note: measured again: {reason}"));
                let kept = if *kept > 0 { format!(", {kept} figures are there already") } else { String::new() };
                eprintln!("{}: {cells} cells of {images} images{kept}", networks.join(", "));
                (self.images, self.networks) = (*images, networks.len());
                self.start(cells * images);
            }
            RobustnessEvent::Evaluating { cell, cells, condition, done, .. } => {
                let Some(bar) = &self.bar else { return ControlFlow::Continue(()) };
                bar.set_position(((cell - 1) * self.images + done) as u64);
                let rate = bar.position() as f64 / self.clock.elapsed().as_secs_f64().max(1e-3);
                let left = bar.length().unwrap_or(0).saturating_sub(bar.position()) as f64 / rate.max(1e-9);
                bar.set_message(format!("{cell}/{cells}  {condition}  {}  {} left", speed(rate), duration(left)));
            }
            RobustnessEvent::Skipped { images } => {
                let first = images.first().map_or("", |image| image.error.as_str());
                let line = format!("note: {} images are passed over, the first because {first}", images.len());
                match &self.bar {
                    Some(bar) => bar.println(line),
                    None => eprintln!("{line}"),
                }
            }
            RobustnessEvent::CellEnded { cell, cells, condition, figures } => {
                let line = format!("  {cell} of {cells}  {condition}  {}", text(figures, self.networks > 1));
                match &self.bar {
                    Some(bar) => bar.println(line),
                    None => eprintln!("{line}"),
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn start(&mut self, total: usize) {
        self.clock = Instant::now();
        if total > 0 && std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr_with_hz(8));
            bar.set_style(style.progress_chars("━╸ "));
            bar.enable_steady_tick(Duration::from_millis(250));
            self.bar = Some(bar);
        }
    }
}

/// The primary figures of the networks.
fn text(figures: &[(String, Scores)], several: bool) -> String {
    let one = |(name, scores): &(String, Scores)| match several {
        true => format!("{name} {}", scores.primary().map_or("-".into(), |(figure, value)| figure.text(value))),
        false => scores.headline(),
    };
    figures.iter().map(one).collect::<Vec<_>>().join(", ")
}
