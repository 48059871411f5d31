use expect_test::expect_file;

use super::*;

#[test]
fn the_shipped_accounts_are_the_rendered_ones() {
    let clients = Clients::Callout {
        issuer: "$LOGLINE_BUS_ISSUER".to_owned(),
    };
    let password = |login: Login| format!("$LOGLINE_BUS_{}_PASSWORD", login.name().to_uppercase());
    let text = format!(
        "# Rendered from `crates/bus/src/access.rs`; a test compares them. Who may do what, for `server.conf`.\n\n{}",
        accounts(password, &clients)
    );
    expect_file!["../../../../deploy/nats/accounts.conf"].assert_eq(&text);
}
