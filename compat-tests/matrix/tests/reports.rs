//! The reports that are written to files, as a build server and a browser take them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use clap::Parser;
use untether_conformance::{Case, Root, Scene, Subject};
use untether_matrix::args::Args;
use untether_matrix::deviations::Deviation;
use untether_matrix::subjects::Entrant;

struct Plain(&'static str);

impl Subject for Plain {
    fn name(&self) -> &str {
        self.0
    }

    fn run(&self, root: Root) {
        pollster::block_on(root);
    }
}

fn case(name: &'static str, run: impl Fn(&Scene) + Send + Sync + 'static) -> Case {
    Case {
        name,
        group: "demo",
        promise: "Users <suffer> & \"complain\".",
        needs: &[],
        run: Arc::new(run),
    }
}

const KNOWN: Deviation = Deviation {
    subject: "second",
    case: "this_one_fails",
    reason: "made so",
    checked: "2026-11-24",
};

/// Every kind of verdict on two subjects, written in the format of this option.
fn write(option: &str, folder: &Path) -> std::path::PathBuf {
    let path = folder.join("report");
    let cases = [
        case("this_one_passes", |_| {}),
        case("this_one_fails", |_| panic!("</script> & \u{1b}[31m")),
        case("this_one_is_skipped", |scene| scene.skip("not here")),
        case("this_one_hangs", |_| std::thread::park()),
    ];
    let entrants = [
        Entrant::new("fi", "the first", Plain("first")),
        Entrant::new("se", "the second", Plain("second")),
    ];
    let file = path.to_str().unwrap();
    let args = Args::parse_from(["untether-matrix", "--timeout", "0.3", option, file]);
    untether_matrix::run(&args, &cases, &entrants, &[KNOWN], &mut Vec::new()).unwrap();
    path
}

#[test]
fn junit_counts_every_kind_of_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(write("--junit", folder.path())).unwrap();
    let counts = |name: &str, failures, skipped| {
        let suite = format!(
            "<testsuite name=\"{name}\" tests=\"4\" failures=\"{failures}\" errors=\"1\" skipped=\"{skipped}\""
        );
        assert!(text.contains(&suite), "{suite}\n{text}");
    };
    counts("first", 1, 1);
    // The failure is known there.
    counts("second", 0, 2);
    assert!(
        text.contains("&lt;/script&gt; &amp; \u{fffd}[31m"),
        "{text}"
    );
    assert!(text.contains("classname=\"first.demo\" name=\"this_one_passes\""));
    assert_eq!(text.matches("<testcase").count(), 8);
}

#[test]
fn the_page_needs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(write("--html", folder.path())).unwrap();
    for outside in ["http://", "https://", "src=", "href=", "@import", "url("] {
        assert!(!text.contains(outside), "the page asks for {outside}");
    }
    assert_eq!(
        text.matches("</script>").count(),
        1,
        "a verdict ends the script"
    );
    assert!(text.contains("default-src 'none'"));
}

/// The page as the browser has it after the script has run. Nothing, if there is no browser here.
fn in_browser(page: &Path, fragment: &str, folder: &Path) -> Option<String> {
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--dump-dom",
        ])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("profile").display()
        ))
        .arg(format!("file://{}#{fragment}", page.display()))
        .output();
    match output {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(_) => {
            println!("skipped: no chromium here");
            None
        }
    }
}

#[test]
fn a_browser_shows_the_table_and_the_details() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    fs::rename(write("--html", folder.path()), &page).unwrap();
    let Some(dom) = in_browser(&page, "this_one_fails@first", folder.path()) else {
        return;
    };
    assert_eq!(dom.matches("<button class=").count(), 8, "{dom}");
    let dialog = &dom[dom.find("<dialog").unwrap()..];
    let dialog = &dialog[..dialog.find("</dialog>").unwrap()];
    assert!(dialog.contains("open"), "{dialog}");
    assert!(dialog.contains("this one fails"), "{dialog}");
    assert!(dialog.contains("On first: broken"), "{dialog}");
    assert!(dialog.contains("Users &lt;suffer&gt; &amp;"), "{dialog}");
    assert!(dialog.contains("&lt;/script&gt;"), "{dialog}");

    let dom = in_browser(&page, "this_one_fails@second", folder.path()).unwrap();
    assert!(dom.contains("Known, checked 2026-11-24: made so"), "{dom}");
    let dom = in_browser(&page, "", folder.path()).unwrap();
    assert!(!dom.contains("<dialog id=\"detail\" open"), "{dom}");
}
