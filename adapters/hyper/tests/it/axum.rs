//! axum's router behind our server.

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use bytes::Bytes;
use hyper_util::service::TowerToHyperService;

use crate::{ask, open_with, run, server};

#[test]
fn a_router_is_served() {
    run(async |handle| {
        let router = Router::new()
            .route(
                "/greet/{name}",
                get(async |Path(name): Path<String>| format!("hello {name}")),
            )
            .route("/count", post(async |body: Bytes| body.len().to_string()));
        let open = open_with(&handle, server(&handle), TowerToHyperService::new(router));
        let get =
            |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        assert!(
            ask(&open, &get("/greet/you"))
                .await
                .ends_with("\r\n\r\nhello you")
        );
        assert!(ask(&open, &get("/none")).await.starts_with("HTTP/1.1 404 "));
        let post =
            "POST /count HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc";
        assert!(ask(&open, post).await.ends_with("\r\n\r\n3"));
        assert_eq!(open.close().await, 0);
    });
}
