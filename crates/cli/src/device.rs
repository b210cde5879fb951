//! `--device` and `--threads`.
use burn::prelude::*;

use crate::args::ComputeArgs;
use crate::failure::Failure;

/// Backends beside the CPU, by the name of their Cargo feature.
const GPU: [&str; 5] = ["cuda", "rocm", "wgpu", "vulkan", "metal"];

/// Sets the number of threads and opens the device (without autodiff).
///
/// # Errors
/// An unknown device, one that is not compiled in (with the feature to build with), one that does not answer.
pub fn open(args: &ComputeArgs) -> Result<Device, Failure> {
    if args.threads > 0 {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads).build_global();
        pool.map_err(|error| Failure::failed(format!("cannot start {} threads: {error}", args.threads), "use fewer"))?;
    }
    let bad = |reason: &str| {
        let known = compiled();
        Failure::usage(format!("--device {}: {reason}", args.device), format!("this program has {}", known.join(", ")))
    };
    let (name, index) = match args.device.split_once(':') {
        None => (args.device.as_str(), None),
        Some((name, index)) => (name, Some(index.parse::<usize>().map_err(|_| bad("the part after : is no number"))?)),
    };
    match name {
        "flex" | "cpu" if index.is_none() => Ok(Device::flex()),
        "flex" | "cpu" => Err(bad("the CPU has no number; --threads sets the number of threads")),
        name if GPU.contains(&name) => match gpu(name, index) {
            Some(make) => probe(args, make),
            None => Err(Failure::usage(
                format!("--device {}: this program was built without {name}", args.device),
                format!("build it with `cargo build --release --features {name}`, or use --device flex"),
            )),
        },
        _ => Err(bad("there is no such device")),
    }
}

/// Names that `--device` takes in this build.
fn compiled() -> Vec<&'static str> {
    std::iter::once("flex").chain(GPU.into_iter().filter(|name| gpu(name, None).is_some())).collect()
}

type Make = Box<dyn FnOnce() -> Device + std::panic::UnwindSafe>;

/// How to open a backend that is compiled in.
#[allow(unused_variables, reason = "without GPU features no arm uses the index")]
fn gpu(name: &str, index: Option<usize>) -> Option<Make> {
    match name {
        #[cfg(feature = "cuda")]
        "cuda" => Some(Box::new(move || Device::cuda(index.unwrap_or(0)))),
        #[cfg(feature = "rocm")]
        "rocm" => Some(Box::new(move || Device::rocm(index.unwrap_or(0)))),
        #[cfg(feature = "wgpu")]
        "wgpu" => Some(Box::new(move || Device::wgpu(kind(index)))),
        #[cfg(feature = "vulkan")]
        "vulkan" => Some(Box::new(move || Device::vulkan(kind(index)))),
        #[cfg(feature = "metal")]
        "metal" => Some(Box::new(move || Device::metal(kind(index)))),
        _ => None,
    }
}

#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
fn kind(index: Option<usize>) -> burn::tensor::DeviceKind {
    index.map_or(burn::tensor::DeviceKind::DefaultDevice, burn::tensor::DeviceKind::DiscreteGpu)
}

/// Opens a device and computes on it once: the backends report a missing driver by a panic.
fn probe(args: &ComputeArgs, make: Make) -> Result<Device, Failure> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = std::panic::catch_unwind(|| {
        let device = make();
        let sum: f32 = Tensor::<1>::ones([4], &device).sum().into_scalar();
        (device, sum)
    });
    std::panic::set_hook(hook);
    match outcome {
        Ok((device, 4.0)) => Ok(device),
        _ => Err(Failure::failed(
            format!("--device {}: the device does not answer", args.device),
            "check that its driver and runtime library are installed, or use --device flex",
        )),
    }
}
