//! Progress on standard error: a bar with images per second and time left on a terminal, a line per epoch elsewhere.
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use subband_train::{ArmResult, EpochRecord, Event, Progress, PromptResult, duration, significant};

/// Shows the events of a run.
pub struct Console {
    quiet: bool,
    bar: Option<ProgressBar>,
    arms: usize,
    arm: String,
    epochs: usize,
    images_per_epoch: usize,
    images: u64,
    clock: Instant,
}

impl Console {
    /// A console; a quiet one shows nothing.
    pub fn new(quiet: bool) -> Self {
        Self {
            quiet,
            bar: None,
            arms: 0,
            arm: String::new(),
            epochs: 0,
            images_per_epoch: 0,
            images: 0,
            clock: Instant::now(),
        }
    }

    /// Takes the bar away, so that what is printed next stands alone.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A line above the bar, or on standard error.
    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// A new bar; elsewhere a line that names the work, which is epochs if it is not given.
    fn start(&mut self, index: usize, per_epoch: usize, done: u64, work: Option<String>) {
        self.finish();
        let place = if self.arms > 1 { format!(" ({} of {})", index + 1, self.arms) } else { String::new() };
        if std::io::stderr().is_terminal() {
            let total = (self.epochs * per_epoch) as u64;
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent:>3} %  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
            bar.set_style(style.progress_chars("━╸ "));
            bar.set_prefix(format!("{}{place}", self.arm));
            bar.set_position(done);
            bar.enable_steady_tick(Duration::from_millis(250));
            self.bar = Some(bar);
        } else {
            let work = work.unwrap_or_else(|| {
                format!("{} epoch{} of {per_epoch} images", self.epochs, if self.epochs == 1 { "" } else { "s" })
            });
            eprintln!("{}{place}: {work}", self.arm);
        }
        (self.images, self.clock) = (0, Instant::now());
    }

    fn step(&mut self, epoch: usize, images: usize, loss: f64) {
        self.images += images as u64;
        let Some(bar) = &self.bar else { return };
        bar.inc(images as u64);
        let rate = self.images as f64 / self.clock.elapsed().as_secs_f64().max(1e-3);
        let left = bar.length().unwrap_or(0).saturating_sub(bar.position()) as f64 / rate.max(1e-9);
        bar.set_message(format!(
            "epoch {epoch}/{}  loss {loss:.3}  {}  {} left",
            self.epochs,
            speed(rate),
            duration(left)
        ));
    }

    fn epoch(&mut self, record: &EpochRecord, best: bool) {
        let loss = record.train.get("loss").map_or(String::new(), |loss| format!("  loss {loss:.4}"));
        let val = record.val.as_ref().map_or(String::new(), |val| {
            format!("  validation {}{}", val.headline(), if best { " (best)" } else { "" })
        });
        self.line(&format!(
            "  {}  epoch {}/{}{loss}{val}  {}  {}",
            self.arm,
            record.epoch,
            self.epochs,
            speed(record.images_per_second),
            duration(record.seconds)
        ));
    }

    fn ended(&mut self, result: &ArmResult) {
        self.finish();
        eprintln!(
            "  {}  test {} (epoch {}), {} (last epoch), {}",
            result.label(),
            result.best.test.headline(),
            result.best.epoch,
            result.last.test.primary().map_or("-".into(), |(figure, value)| figure.text(value)),
            duration(result.seconds)
        );
    }

    fn prompts(&mut self, result: &PromptResult) {
        self.finish();
        eprintln!(
            "  prompts  {} steps, teacher {} without and {} with prompts, {}",
            result.steps,
            result.teacher.headline(),
            result.end.primary().map_or("-".into(), |(figure, value)| figure.text(value)),
            duration(result.seconds)
        );
    }
}

impl Progress for Console {
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
        if self.quiet {
            return ControlFlow::Continue(());
        }
        match event {
            Event::RunStarted { arms, .. } => self.arms = arms,
            Event::ArmStarted { name, index, epochs, steps_per_epoch, done_steps, images_per_epoch } => {
                (self.arm, self.epochs, self.images_per_epoch) = (name.into(), epochs, images_per_epoch);
                let done = done_steps as f64 / steps_per_epoch.max(1) as f64 * images_per_epoch as f64;
                self.start(index, images_per_epoch, done as u64, None);
                if done_steps > 0 {
                    self.line(&format!("  {name}  continues after step {done_steps}"));
                }
            }
            Event::Proved { name, proof } => {
                proof.parts.iter().for_each(|part| self.line(&format!("  {name}  {part}")));
            }
            Event::WeightsFrozen { name, steps, weights } => {
                let each: Vec<String> =
                    weights.iter().map(|(term, weight)| format!("{term} {}", significant(*weight))).collect();
                self.line(&format!("  {name}  weights after {steps} steps: {}", each.join(", ")));
            }
            Event::ArmSkipped { name, .. } => self.line(&format!("  {name}  was finished before")),
            Event::PromptsStarted { index, steps, batch_size, done_steps, used } => {
                (self.arm, self.epochs, self.images_per_epoch) = ("prompts".into(), 1, steps * batch_size);
                let work = format!("{steps} steps of {batch_size} images");
                self.start(index, steps * batch_size, (done_steps * batch_size) as u64, Some(work));
                if done_steps > 0 {
                    self.line(&format!("  prompts  continue after step {done_steps}"));
                }
                if !used {
                    self.line("  prompts  no arm uses them; they are learned for their file alone");
                }
            }
            Event::PromptsEnded { result } => self.prompts(result),
            Event::Step { epoch, images, loss, .. } => self.step(epoch, images, loss),
            Event::Evaluating { split, done, total } => {
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("{split} images {done}/{total}"));
                }
            }
            Event::EpochEnded { record, best } => self.epoch(record, best),
            Event::ArmEnded { result } => self.ended(result),
        }
        ControlFlow::Continue(())
    }
}

/// Images per second, with a decimal where whole numbers would say little.
pub fn speed(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1} images/s") } else { format!("{rate:.0} images/s") }
}

#[cfg(test)]
mod tests {
    use super::speed;

    #[test]
    fn slow_networks_have_a_decimal() {
        assert_eq!(speed(0.4), "0.4 images/s");
        assert_eq!(speed(1234.4), "1234 images/s");
    }
}
