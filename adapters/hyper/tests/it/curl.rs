//! What everybody uses, if it is there.

use std::process::Command;

use untether_executors::{Pool, spawn_blocking};
use untether_hyper::{Executor, Server};

use crate::{BIG, everything, listener};

#[test]
fn curl_is_served() {
    if !Command::new("curl")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        println!("skipped: curl is not installed");
        return;
    }
    let pool = Pool::new(2).unwrap();
    let (listener, address) = listener();
    let curl = async move {
        let get = |arguments: &[&str], path: &str| {
            let mut command = Command::new("curl");
            command.args(["--silent", "--show-error", "--max-time", "20"]);
            command
                .args(arguments)
                .arg(format!("http://{address}{path}"));
            spawn_blocking(move || command.output().unwrap())
        };
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let hello = get(&[version], "/hello").await;
            assert_eq!(hello.stdout, b"hello", "{hello:?}");
            let big = get(&[version], "/big").await;
            assert_eq!(big.stdout.len(), BIG);
            let count = get(&[version, "--data", "abcdef"], "/count").await;
            assert_eq!(count.stdout, b"6");
        }
        // It asks for HTTP/2 by an upgrade that is not granted, and is content.
        assert_eq!(get(&["--http2"], "/hello").await.stdout, b"hello");
    };
    let server = Server::new(Executor(pool.handle()));
    let service = hyper::service::service_fn(everything);
    assert_eq!(
        pool.block_on(server.serve_until(listener, service, curl))
            .unwrap(),
        0
    );
}
