//! Children and signals: crates that reach deep into async-io.

use std::time::Duration;

use async_io::{Timer, block_on};
use futures_lite::{FutureExt, StreamExt};
use smol::process::{Command, Stdio};

#[test]
fn a_child_process_is_read_from_and_waited_for() {
    let output = block_on(async {
        let mut child = Command::new("sh")
            .args(["-c", "read line; echo heard $line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        smol::io::AsyncWriteExt::write_all(child.stdin.as_mut().unwrap(), b"hello\n").await?;
        child.output().await
    })
    .unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"heard hello\n");
}

#[test]
fn a_signal_is_heard() {
    use async_signal::{Signal, Signals};
    use rustix::process::{Signal as Number, getpid, kill_process};

    let mut signals = Signals::new([Signal::Usr1]).unwrap();
    let heard = block_on(async {
        kill_process(getpid(), Number::USR1).unwrap();
        let late = async {
            Timer::after(Duration::from_secs(30)).await;
            None
        };
        signals.next().or(late).await
    });
    assert_eq!(heard.unwrap().unwrap(), Signal::Usr1);
}
