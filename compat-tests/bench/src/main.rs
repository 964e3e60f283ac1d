//! Measures untether beside its peers: `cargo run --release -p untether-bench`.
//!
//! Every subject is a child process of this one, pinned to a core; all are alive at once, and each round gives every
//! one of them a short window, in a freshly shuffled order (`window`). What is compared is compared within a round.
//!
//! In reading order: `args` says what to run; `measures` are the questions; `servers` the answers of each runtime to
//! the same small echo server; `load` is the other side of its connections; `child` the processes; `machine` the rest
//! of what is asked of the OS; `report` what is made of the figures.

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("untether-bench measures on Linux only");
}

#[cfg(target_os = "linux")]
mod args;
#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod figure;
#[cfg(target_os = "linux")]
mod heap;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod measures;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod servers;
#[cfg(target_os = "linux")]
mod spread;
#[cfg(target_os = "linux")]
mod window;

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    use clap::Parser;

    // If this process was started to be measured, it ends here.
    child::serve_if_asked()?;
    let args = args::Args::parse();
    if args.list {
        return report::table::list(&mut std::io::stdout());
    }
    let figures = if args.from.is_empty() {
        measures::run(&args)?
    } else {
        report::read(&args.from)?
    };
    report::table::print(&figures, &mut std::io::stdout())?;
    report::write(&args, &figures)
}
