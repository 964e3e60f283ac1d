//! hyper-util's client, on one thread.
//!
//! Run it: `cargo run -p untether-hyper --example client -- http://127.0.0.1:PORT/`

use std::error::Error;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use untether_executors::Local;
use untether_hyper::{Connector, Executor, Timer};

fn main() -> Result<(), Box<dyn Error>> {
    let Some(uri) = std::env::args().nth(1) else {
        return Err("say which URI to get, as http://host/".into());
    };
    let local = Local::new();
    let connector = Connector::new().timeout(Duration::from_secs(10));
    let client: Client<_, Empty<Bytes>> = Client::builder(Executor(local.remote()))
        .pool_timer(Timer)
        .build(connector);
    local.run(async {
        let response = client.get(uri.parse()?).await?;
        println!("{:?} {}", response.version(), response.status());
        for (name, value) in response.headers() {
            println!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
        let body = response.into_body().collect().await?.to_bytes();
        println!("\n{}", String::from_utf8_lossy(&body));
        Ok(())
    })
}
