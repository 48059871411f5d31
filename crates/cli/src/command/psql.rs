//! `logline psql`: psql on the stack at hand, as the person whose login it has (SQL-1).

use std::{convert::Infallible, ffi::OsString, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{args::Global, stack};

/// Flags of `logline psql`.
#[derive(Debug, clap::Args)]
pub(crate) struct Psql {
    /// What psql is given, such as `-c 'select …'`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Becomes psql; it comes back only where that fails.
pub(crate) fn run(global: &Global, command: &Psql) -> Result<Infallible> {
    let psql = logline_stack::stock_client("psql").with_context(|| {
        format!(
            "`psql` was not found: run `{}`",
            logline_stack::SETUP_COMMAND
        )
    })?;
    let directory = stack::directory(global.dir.as_deref())?;
    let addresses = stack::addresses(&directory)?;
    let (url, password) = without_password(&addresses.postgres)
        .context("the stack's address of Postgres is not one that `logline dev` writes")?;
    let failed = Command::new(&psql)
        // Everybody on the machine sees the arguments of a process.
        .env("PGPASSWORD", password)
        .arg("--dbname")
        .arg(url)
        .args(&command.arguments)
        .exec();
    Err(failed).with_context(|| format!("cannot run `{}`", psql.display()))
}

/// `scheme://user:password@rest` in two.
fn without_password(url: &str) -> Option<(String, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (login, place) = rest.rsplit_once('@')?;
    let (user, password) = login.split_once(':')?;
    Some((format!("{scheme}://{user}@{place}"), password))
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn the_password_is_no_argument() {
        let (url, password) = without_password("postgres://me:abc@127.0.0.1:1/postgres").unwrap();
        assert_eq!(
            (url.as_str(), password),
            ("postgres://me@127.0.0.1:1/postgres", "abc")
        );
        assert_eq!(without_password("postgres://127.0.0.1/postgres"), None);
    }
}
