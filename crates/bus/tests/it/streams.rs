//! BUS-4, BUS-5, BUS-11: the streams and their settings.

use logline_bus::{Bus, Holder};
use logline_testkit::Nats;

use crate::support::{config, connect, migrated, nats_cli};

#[tokio::test]
async fn migrating_twice_changes_and_reports_nothing() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    assert_eq!(bus.migrate().await.unwrap(), vec![]);
    let names = nats_cli(&nats, &["stream", "ls", "--names"]).await.unwrap();
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "CHECKPOINTS",
            "DEADLETTER",
            "INGEST",
            "QUARANTINE",
            "TIMELINE",
            "TIMERS"
        ]
    );
}

#[tokio::test]
async fn a_setting_that_differs_is_reported_and_left_as_it_is() {
    let nats = Nats::start().await;
    migrated(&nats).await;
    let other = logline_bus::Config {
        ingest_bytes_max: 1024,
        ..config(&nats)
    };
    let bus = Bus::connect(&other).await.unwrap();
    for _ in 0..2 {
        let differences = bus.migrate().await.unwrap();
        assert_eq!(differences.len(), 1, "{differences:?}");
        assert_eq!(differences[0].holder, Holder::Stream("INGEST".to_owned()));
        assert_eq!(
            differences[0].to_string(),
            "stream INGEST: max_bytes is 67108864, wanted 1024"
        );
    }
    // A setting that only the server has counts too: here somebody let clients roll up.
    let edit = ["stream", "edit", "INGEST", "--force", "--allow-rollup"];
    nats_cli(&nats, &edit).await.unwrap();
    let differences = connect(&nats).await.migrate().await.unwrap();
    assert_eq!(differences.len(), 1, "{differences:?}");
    assert_eq!(differences[0].setting, "allow_rollup_hdrs");
}

#[tokio::test]
async fn only_the_timeline_persists_asynchronously() {
    let nats = Nats::start().await;
    migrated(&nats).await;
    for stream in ["INGEST", "TIMELINE", "TIMERS", "QUARANTINE"] {
        let info = nats_cli(&nats, &["stream", "info", stream, "--json"]).await;
        let info: serde_json::Value = serde_json::from_str(&info.unwrap()).unwrap();
        let mode = info["config"]["persist_mode"].as_str();
        assert_eq!(
            mode == Some("async"),
            stream == "TIMELINE",
            "{stream}: {mode:?}"
        );
    }
}
