//! The command: `cargo run --release` at the top of the repository.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use untether_conformance::{Subject, all, serve_children};
use untether_matrix::args::Args;
use untether_matrix::deviations::DEVIATIONS;
use untether_matrix::subjects;

fn main() -> io::Result<ExitCode> {
    let cases = all();
    let entrants = subjects::all();
    let under_test: Vec<Arc<dyn Subject>> = entrants
        .iter()
        .map(|entrant| entrant.subject.clone())
        .collect();
    // If this process was started for one case, it ends here.
    serve_children(&cases, &under_test);
    let args = Args::parse();
    let code = untether_matrix::run(&args, &cases, &entrants, DEVIATIONS, &mut io::stdout())?;
    Ok(ExitCode::from(code))
}
