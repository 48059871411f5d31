//! Private server child processes: one PostgreSQL cluster, one nats-server, each in a directory of its own.
//!
//! What it promises: a server that is started here never outlives this process, whatever ends the process; its data
//! does. What it never does: speak SQL or the bus protocol, read configuration, choose a directory. It hands out URLs.
//!
//! Start reading at [`Postgres`] and [`Nats`]; [`Binaries`] finds the programs, `process` runs them.

mod binaries;
mod nats;
mod postgres;

mod directory;
mod error;
mod guard;
mod port;
mod process;

pub use binaries::{Binaries, PostgresInstallation, SETUP_COMMAND, stock_client};
pub use error::Error;
pub use guard::remove_when_this_process_ends;
pub use nats::{Nats, NatsConfig, SINGLE_NODE};
pub use port::{free_port, port_holder};
pub use postgres::{Postgres, PostgresConfig};
pub use process::freeze_this_process;
